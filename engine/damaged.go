package engine

// Damaged is a record that cannot be read, and what its key tells of it.
type Damaged struct {
	Tenant, Service string // of a tenant (Service is empty) or a service; of the latter, Tenant is the prefix of its tenant
	Client          string // of an answer to a client, in Slot, or of what schema 1 had of a client
	Slot            uint64
	Name            string // of an API key
	Home            uint64 // of an island, under Prefix
	Prefix          string
	Err             error
}

// Aside gets the records that a load leaves out because they cannot be read. They stay in the store as they are. A load
// without one ends at the first.
type Aside func(Damaged)

func (a Aside) put(d Damaged, err error) error {
	if a == nil {
		return err
	}
	d.Err = err
	a(d)
	return nil
}
