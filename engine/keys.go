package engine

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Schema is the layout of keys and records that this package writes, and the newest that it reads. Schema 1 had no modes,
// and the answers of a client in one record; schema 2 had all values whole; schema 3 had no bare services; in
// schema 4 what is in a directory was stored under the directory's path; schema 5 had no directories in another service than that
// in which they were made; schema 6 had services under their tenant's name.
const Schema = 7

const (
	keyStore = "/1/store"
	keyID    = "/1/id"
	keyBatch = "/1/b"

	keyForgot   = "/1/forgot"
	keyReserved = "/1/reserved"

	prefixTenant   = "/1/t/"
	prefixService  = "/1/s/"
	prefixFloor    = "/1/f/"
	prefixDir      = "/1/d/"
	prefixIsland   = "/1/i/"
	prefixVariable = "/1/v/"
	prefixPiece    = "/1/p/"
	prefixBare     = "/1/z/"
	prefixLayout   = "/1/l/"
	prefixMoved    = "/1/m/"
	prefixClient   = "/1/c/"
	prefixResult   = "/1/r/"
	prefixAPIKey   = "/1/k/"
	prefixLease    = "/1/h/"
)

// The first NUL of a service's key ends the tenant's prefix, so a NUL inside it, which raw names may have, is written in
// another way. The order of keys stays the order of prefixes.
var (
	escapeTenant   = strings.NewReplacer("\x00", "\x01\x01", "\x01", "\x01\x02")
	unescapeTenant = strings.NewReplacer("\x01\x01", "\x00", "\x01\x02", "\x01")
)

func tenantKey(name string) string { return prefixTenant + name }

func serviceKey(prefix, name string) string {
	return prefixService + escapeTenant.Replace(prefix) + "\x00" + name
}

// splitServiceKey takes a service's key without the prefix.
func splitServiceKey(key string) (prefix, name string, err error) {
	prefix, name, ok := strings.Cut(key, "\x00")
	if !ok {
		return "", "", fmt.Errorf("%w: service key %q", ErrCorrupt, key)
	}
	return unescapeTenant.Replace(prefix), name, nil
}

func floorKey(service uint64) string { return fmt.Sprintf("%s%016x", prefixFloor, service) }

// The id has a fixed width, so that what follows can be any bytes and no service's keys begin with those of another.
func dirPrefix(service uint64) string      { return fmt.Sprintf("%s%016x/", prefixDir, service) }
func variablePrefix(service uint64) string { return fmt.Sprintf("%s%016x/", prefixVariable, service) }

// DirPrefix is a prefix that no other directory of the service, or no other tenant, has or gets: names begin with no slash.
func DirPrefix(id uint64) string { return fmt.Sprintf("/%x/", id) }

// islandKey is the key of the island that a directory of a service is, by its prefix.
func islandKey(home uint64, prefix string) string {
	return fmt.Sprintf("%s%016x/%s", prefixIsland, home, prefix)
}

// splitIslandKey takes an island's key without the prefix.
func splitIslandKey(key string) (home uint64, prefix string, err error) {
	number, prefix, ok := strings.Cut(key, "/")
	if home, err = strconv.ParseUint(number, 16, 64); err != nil || !ok || len(number) != 16 || prefix == "" {
		return 0, "", fmt.Errorf("%w: island key %q", ErrCorrupt, key)
	}
	return home, prefix, nil
}

func dirKey(service uint64, name string) string      { return dirPrefix(service) + name }
func variableKey(service uint64, name string) string { return variablePrefix(service) + name }

func piecePrefix(id uint64) string     { return fmt.Sprintf("%s%016x/", prefixPiece, id) }
func pieceKey(id uint64, i int) string { return fmt.Sprintf("%s%04x", piecePrefix(id), i) }

func bareKey(service uint64) string      { return fmt.Sprintf("%s%016x", prefixBare, service) }
func layoutPrefix(service uint64) string { return fmt.Sprintf("%s%016x/", prefixLayout, service) }

func layoutKey(service, id uint64) string { return fmt.Sprintf("%s%016x", layoutPrefix(service), id) }

func movedKey(id uint64) string { return fmt.Sprintf("%s%016x", prefixMoved, id) }

func clientKey(id string) string { return prefixClient + hex.EncodeToString([]byte(id)) }

func resultKey(client string, slot uint64) string {
	return fmt.Sprintf("%s%x/%016x", prefixResult, client, slot)
}

// splitResultKey takes a result's key without the prefix.
func splitResultKey(key string) (client string, slot uint64, err error) {
	name, number, _ := strings.Cut(key, "/")
	id, err := hex.DecodeString(name)
	if err == nil {
		slot, err = strconv.ParseUint(number, 16, 64)
	}
	if err != nil {
		return "", 0, fmt.Errorf("%w: result key %q", ErrCorrupt, key)
	}
	return string(id), slot, nil
}

func leaseKey(client string) string { return prefixLease + hex.EncodeToString([]byte(client)) }

func apiKeyKey(name string) string { return prefixAPIKey + name }
