package engine

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

// segmentSize is that of a log file. etcd preallocates two of them, 64 MB each by default.
const segmentSize = 16 << 20

func init() { wal.SegmentSizeBytes = segmentSize } // etcd's own variable: there is no other way to say it

const (
	// etcd keeps all entries since its last snapshot in its log files and, in part, in memory, and reads them all at the
	// next start. Entries can be as large as MaxBatch, so it takes its snapshots (small files: the data are in the
	// database) fifty times as often as by default.
	snapshotEntries = 200
	// catchUpEntries is for slow followers. There are none; 0 would mean the default.
	catchUpEntries  = 1
	compactionPause = 5 * time.Millisecond
)

// compactionStep is how many keys a compaction looks at in one go, while batches wait, before it writes what it has done and
// pauses. It rewrites every page from which it removes something, and reads all values: with many in a step the database
// could double, and batches wait long. No value in the store is larger than MaxWhole but those of schema 2, so a step is of
// 16 MiB at most. A variable for tests.
var compactionStep = 256

// etcdConfig is a member alone in its cluster that listens nowhere. Its peer URL is only a name that its peers would
// know it by.
func etcdConfig(opts Options, zapBuilder func(*embed.Config) error) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = "commyfs"
	cfg.Dir = etcdDir(opts.Dir)
	self := url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	cfg.AdvertisePeerUrls = []url.URL{self}
	cfg.InitialCluster = cfg.Name + "=" + self.String()
	cfg.ListenPeerUrls = nil
	cfg.ListenClientUrls = nil
	cfg.AdvertiseClientUrls = nil
	cfg.EnableGRPCGateway = false

	cfg.TickMs = 50
	cfg.ElectionMs = 250
	cfg.PreVote = false // there are no other members

	cfg.QuotaBackendBytes = etcdQuota(opts.Quota)
	cfg.MaxTxnOps = MaxOps + 8
	cfg.MaxRequestBytes = MaxBatch + 1<<20
	cfg.SnapshotCount = snapshotEntries
	cfg.SnapshotCatchUpEntries = catchUpEntries
	cfg.CompactionBatchLimit = compactionStep
	cfg.CompactionSleepInterval = compactionPause
	cfg.MaxSnapFiles = 2
	cfg.MaxWalFiles = 2
	cfg.DowngradeCheckTime = 0                 // there are no other members
	cfg.WarningApplyDuration = 1 * time.Second // a batch of 16 MiB is not quick

	cfg.ZapLoggerBuilder = zapBuilder
	return cfg
}

// etcdDir is apart from our own files in dir.
func etcdDir(dir string) string { return filepath.Join(dir, "etcd") }

func databasePath(dir string) string { return filepath.Join(etcdDir(dir), "member", "snap", "db") }

func walDir(dir string) string { return filepath.Join(etcdDir(dir), "member", "wal") }

// etcdQuota is where etcd refuses all writes by itself. It is out of reach (spaceGate), because then it takes no deletions
// either.
func etcdQuota(quota int64) int64 { return quota + 2*beyondQuota(quota) }

// checkFiles refuses files with which etcd would crash or never become ready: a database file that cannot be opened (etcd
// panics in another goroutine, where nobody can recover) and one without a log.
func checkFiles(dir string) error {
	path := databasePath(dir)
	if _, err := os.Stat(path); errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	logs, err := os.ReadDir(walDir(dir))
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	if !slices.ContainsFunc(logs, func(f iofs.DirEntry) bool { return filepath.Ext(f.Name()) == ".wal" }) {
		return fmt.Errorf("%w: no log in %s", ErrCorrupt, filepath.Dir(walDir(dir)))
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, path, err)
	}
	return db.Close()
}

// removeLeftovers removes what etcd leaves behind when its process is killed: new database files of rewrites that were
// cut off, and the copies that it makes of log files before it cuts off half a record at their end.
func removeLeftovers(dir string) error {
	snap, name := filepath.Split(databasePath(dir))
	return errors.Join(
		removeAll(snap, func(file string) bool { return strings.HasPrefix(file, name+".tmp.") }),
		removeAll(walDir(dir), func(file string) bool { return strings.HasSuffix(file, ".wal.broken") }),
	)
}

func removeAll(dir string, unwanted func(file string) bool) error {
	files, err := os.ReadDir(dir)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	for _, f := range files {
		if unwanted(f.Name()) {
			err = errors.Join(err, os.Remove(filepath.Join(dir, f.Name())))
		}
	}
	return err
}

// startEtcd starts etcd. A store that it cannot read makes it panic or worse: that becomes an error.
func startEtcd(cfg *embed.Config, starting *atomic.Bool) (etcd *embed.Etcd, err error) {
	starting.Store(true)
	defer starting.Store(false)
	defer func() {
		if p := recover(); p != nil {
			etcd, err = nil, fmt.Errorf("%w: etcd cannot start with it: %v", ErrCorrupt, p)
		}
	}()
	etcd, err = embed.StartEtcd(cfg)
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno): // it is not what was read, but that it could not be
		return nil, fmt.Errorf("start etcd: %w", err)
	case err != nil:
		return nil, fmt.Errorf("%w: start etcd: %w", ErrCorrupt, err)
	}
	return etcd, nil
}
