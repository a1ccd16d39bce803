package model

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// Principal is who somebody is. Stores keep its text, so it is the same from one server to the next; what it may do there,
// a server decides.
type Principal string

// Itself is the server, where nobody else has asked for what it does.
const Itself Principal = "s"

// User is a local user, as the kernel knows it.
func User(uid uint32) Principal { return Principal("u" + strconv.FormatUint(uint64(uid), 10)) }

// KeyHolder is who shows the API key whose secret has this hash. A new key under the name of a revoked one is another
// principal.
func KeyHolder(hash [32]byte) Principal { return Principal("k" + string(hash[:len(hash)/2])) }

// Client names the client of the principal that calls itself id. Nobody becomes another's client by knowing its id, which
// every server and log on the way may have seen. The id comes last and has a fixed length.
func (p Principal) Client(id []byte) string { return string(p) + "/" + string(id) }

// Mark stands for the principal where it is compared, and tells nothing of it.
func (p Principal) Mark() string {
	sum := sha256.Sum256([]byte("commyfs principal\x00" + string(p)))
	return hex.EncodeToString(sum[:8])
}

// Origin is who has asked for a change.
type Origin struct {
	Principal Principal
	Client    string // see Principal.Client; empty: nobody waits for the answer to have it repeated
	Seq       uint64 // the client's number of the report
}
