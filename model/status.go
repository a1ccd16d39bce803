package model

// Limits are the server's bounds (S22).
type Limits struct {
	Value     int64 `json:"value"`     // bytes a variable can hold
	Name      int   `json:"name"`      // bytes of a variable's whole name
	Component int   `json:"component"` // bytes of one path component, escaped
	Free      int64 `json:"free"`      // bytes free under the state directory
	Total     int64 `json:"total"`     // bytes of the file system that holds the state directory
}

// ServerInfo describes the server process.
type ServerInfo struct {
	Pid     int    `json:"pid"`
	Version string `json:"version"`
	Mode    string `json:"mode"` // "auto" or "serve"
	URL     string `json:"url"`  // the wss URL it listens on, else unix://
	Host    string `json:"host"`
	Started int64  `json:"started"` // Unix nanoseconds
}

// SessionInfo describes a session, for status.
type SessionInfo struct {
	Program   string `json:"program"`
	Pid       int    `json:"pid"`
	Host      string `json:"host"`
	Mount     string `json:"mount,omitempty"`
	User      string `json:"user"` // peer uid or key name
	Remote    string `json:"remote"`
	Connected int64  `json:"connected"`
}

// BareInfo describes a bare service that is in memory, for status.
type BareInfo struct {
	Tenant    string `json:"tenant"`
	Service   string `json:"service"`
	Size      int64  `json:"size"`
	Variables int    `json:"variables"`
	NoFile    bool   `json:"no_file,omitempty"` // its file cannot be had; the log of the server says why
	Writable  bool   `json:"writable"`          // somebody has the file open to store into it, so that it is scanned
	Interval  int64  `json:"interval"`          // from one scan to the next, in nanoseconds, and what one takes
	Cost      int64  `json:"cost"`
	Found     uint64 `json:"found"` // values found in the file since it was opened
}

// MemoryInfo describes how the values of a named service in memory reach the clients that use it, for status.
type MemoryInfo struct {
	Tenant     string `json:"tenant"`
	Service    string `json:"service"`
	Size       int64  `json:"size"`       // bytes of the memory file, 0 if there is none
	Generation uint64 `json:"generation"` // of the memory file
	Mapped     int    `json:"mapped"`     // clients that have asked for the file, and read from it
	Remote     int    `json:"remote"`     // clients on other hosts, which get the values over the connection
	Unmapped   int    `json:"unmapped"`   // clients on this host that get them so: they do not map it, or there is no file
}

// KeyInfo describes an API key.
type KeyInfo struct {
	Name    string   `json:"name"`
	Tenants []string `json:"tenants"`
	Rights  Rights   `json:"-"`
	Created int64    `json:"created"`
}
