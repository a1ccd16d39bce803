package engine

import (
	"encoding/binary"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Op is one step of a batch: a key to put or to delete. Batches are made with the constructors below.
type Op struct {
	key   string
	value []byte // nil deletes
	data  int    // bytes of a variable's value in it
	end   string // deletes all from key to here
	keys  int    // how many these are
}

// Size is what the operation counts against MaxBatch.
func (o Op) Size() int { return len(o.key) + len(o.end) + len(o.value) + opOverhead }

// writes is what it has the store write: for each key that it deletes, that the key is gone.
func (o Op) writes() int { return (len(o.key)+opOverhead)*max(o.keys, 1) + len(o.value) }

func (o Op) etcd() *pb.RequestOp {
	if o.value == nil {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{
			Key: []byte(o.key), RangeEnd: []byte(o.end),
		}}}
	}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(o.key), Value: o.value}}}
}

// opOverhead covers what protobuf and the log add to a key and a value.
const opOverhead = 32

// PutTenant stores a tenant under its name. A rename also deletes the old name, and the tenant keeps its prefix.
func PutTenant(t Tenant) Op { return Op{key: tenantKey(t.Name), value: t.encode()} }

// DeleteTenant removes the tenant of that name.
func DeleteTenant(name string) Op { return Op{key: tenantKey(name)} }

// PutService stores a service under its name and its tenant's prefix.
func PutService(s Service) Op { return Op{key: serviceKey(s.Tenant, s.Name), value: s.encode()} }

// DeleteService removes what is kept under a name and a tenant's prefix, not what hangs on the service's id.
func DeleteService(prefix, name string) Op { return Op{key: serviceKey(prefix, name)} }

// PutFloor stores a service's version floor.
func PutFloor(service, floor uint64) Op {
	return Op{key: floorKey(service), value: encodeNumber(floor)}
}

// DeleteFloor removes a service's version floor, when the service goes.
func DeleteFloor(service uint64) Op { return Op{key: floorKey(service)} }

// PutDir stores a directory under its name. service is the home of the directory that it is in.
func PutDir(service uint64, d Dir) Op { return Op{key: dirKey(service, d.Name), value: d.encode()} }

// DeleteDir removes the directory of that name.
func DeleteDir(service uint64, name string) Op { return Op{key: dirKey(service, name)} }

// PutIsland stores an island under its home and prefix.
func PutIsland(i Island) Op { return Op{key: islandKey(i.Home, i.Prefix), value: i.encode()} }

// DeleteIsland forgets that, when the directory goes.
func DeleteIsland(home uint64, prefix string) Op { return Op{key: islandKey(home, prefix)} }

// PutVariable stores a variable, value included, under its name. service is the home of the directory that it is in. v.Data may be
// reused afterwards.
func PutVariable(service uint64, v Variable) Op {
	return Op{key: variableKey(service, v.Name), value: v.encode(), data: len(v.Data)}
}

// DeleteVariable removes the variable of that name.
func DeleteVariable(service uint64, name string) Op { return Op{key: variableKey(service, name)} }

// PutBare stores that a service is a bare one of size bytes.
func PutBare(service uint64, size int64) Op {
	return Op{key: bareKey(service), value: encodeNumber(uint64(size))}
}

// DeleteBare forgets that, when the service goes.
func DeleteBare(service uint64) Op { return Op{key: bareKey(service)} }

// PutLayout stores where a variable lies in its service's memory.
func PutLayout(service uint64, l Layout) Op {
	return Op{key: layoutKey(service, l.ID), value: l.encode()}
}

// DeleteLayout forgets that, when the variable goes.
func DeleteLayout(service, id uint64) Op { return Op{key: layoutKey(service, id)} }

// PutMoved stores that the variable of that id is in another service than the one it was made in.
func PutMoved(id, service uint64) Op { return Op{key: movedKey(id), value: encodeNumber(service)} }

// DeleteMoved forgets that, when the variable goes.
func DeleteMoved(id uint64) Op { return Op{key: movedKey(id)} }

// PutResult stores an answer to a client.
func PutResult(r Result) Op {
	return Op{key: resultKey(r.Client, r.Slot), value: append(newRecord(len(r.Data)), r.Data...)}
}

// DeleteResult forgets an answer to a client.
func DeleteResult(client string, slot uint64) Op { return Op{key: resultKey(client, slot)} }

// PutForgot stores, in Unix nanoseconds, when the last of the clients left that were forgotten before their time.
func PutForgot(nanos int64) Op { return Op{key: keyForgot, value: encodeNumber(uint64(nanos))} }

// PutReserved stores the ids that are set aside for clients, by the clients' names.
func PutReserved(ids map[string][]uint64) Op {
	b := newRecord(1 << 10)
	for client, list := range ids {
		b = binary.AppendUvarint(appendString(b, client), uint64(len(list)))
		for _, id := range list {
			b = binary.AppendUvarint(b, id)
		}
	}
	return Op{key: keyReserved, value: b}
}

// DeleteReserved forgets them.
func DeleteReserved() Op { return Op{key: keyReserved} }

// DeleteClient forgets what schema 1 had of a client.
func DeleteClient(id string) Op { return Op{key: clientKey(id)} }

// PutLease stores by which lease a client may have locks.
func PutLease(client string, lease uint64) Op {
	return Op{key: leaseKey(client), value: encodeNumber(lease)}
}

// DeleteLease forgets that.
func DeleteLease(client string) Op { return Op{key: leaseKey(client)} }

// PutKey stores an API key under its name.
func PutKey(k Key) Op { return Op{key: apiKeyKey(k.Name), value: k.encode()} }

// DeleteKey revokes the API key of that name.
func DeleteKey(name string) Op { return Op{key: apiKeyKey(name)} }
