package server

import (
	"strconv"

	"github.com/commy-project/commyfs/engine"
)

// principal is on whose behalf a session acts, in bytes that stay the same from one server to the next: "u" and the uid
// of a local user, or "k" and half the hash of an API key. A new key under the name of a revoked one is another principal.
type principal string

func localPrincipal(uid uint32) principal {
	return principal("u" + strconv.FormatUint(uint64(uid), 10))
}

func keyPrincipal(k *engine.Key) principal { return principal("k" + string(k.Hash[:len(k.Hash)/2])) }

// client names the client that calls itself id. The name holds the principal, so that nobody becomes another's client by
// knowing its id, which every server and log on the way may have seen. The id comes last and has a fixed length.
func (p principal) client(id []byte) string { return string(p) + "/" + string(id) }
