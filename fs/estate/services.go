package estate

import (
	"iter"
	"sync/atomic"
	"unsafe"
)

// Service is a service that the kernel has nodes of.
type Service struct {
	id  atomic.Uint64 // 0: the record is free
	rev atomic.Int64
}

// ID is the server's number of the service.
func (s *Service) ID() uint64 { return s.id.Load() }

// Rev is the revision up to which its changes have been announced to the kernel.
func (s *Service) Rev() int64 { return s.rev.Load() }

// SetRev notes how far its changes have been announced.
func (s *Service) SetRev(rev int64) { s.rev.Store(rev) }

// AddService notes a service; nil if there is no room.
func (e *Estate) AddService(id uint64, rev int64) *Service {
	i, ok := e.take(&e.freeServices, &e.header().services, maxServices)
	if !ok {
		return nil
	}
	s := e.service(i)
	s.rev.Store(rev)
	s.id.Store(id)
	return s
}

// RemoveService takes back what AddService returned.
func (e *Estate) RemoveService(s *Service) {
	s.id.Store(0)
	e.put(&e.freeServices, e.index(unsafe.Pointer(s), servicesAt, unsafe.Sizeof(*s)))
}

// Services are those that are noted. None may be added or removed meanwhile.
func (e *Estate) Services() iter.Seq[*Service] {
	return func(yield func(*Service) bool) {
		for i := range min(e.header().services.Load(), maxServices) {
			if s := e.service(i); s.ID() != 0 && !yield(s) {
				return
			}
		}
	}
}

func (e *Estate) service(i uint32) *Service {
	return (*Service)(unsafe.Pointer(&e.mem[servicesAt+int(i)*int(unsafe.Sizeof(Service{}))]))
}
