package commyfs_test

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"log"

	"github.com/commy-project/commyfs"
)

// options select the server of these tests. For your own server use commyfs.Options{}.
var options commyfs.Options

func connect(ctx context.Context) *commyfs.Client {
	c, err := commyfs.Connect(ctx, options)
	if err != nil {
		log.Fatal(err)
	}
	return c
}

func Example() {
	ctx := context.Background()
	c, err := commyfs.Connect(ctx, options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	line := c.Service("plant", "line1")
	version, err := line.Put(ctx, "temp", []byte("21.5"))
	if err != nil {
		log.Fatal(err)
	}
	entry, err := line.Get(ctx, "temp")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s = %s, as put: %v\n", entry.Path(), entry.Value, entry.Version == version)
	for ev, err := range line.Watch(ctx, commyfs.WatchOptions{}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(ev.Kind, ev.Path(), string(ev.Value))
		if ev.Kind == commyfs.EventSynced {
			break // a program that goes on sees changes
		}
	}
	// Output:
	// plant/line1/temp = 21.5, as put: true
	// initial plant/line1/temp 21.5
	// synced
}

func ExampleService_Watch() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()
	line := c.Service("plant", "watched")
	if _, err := line.Put(ctx, "temp", []byte("21.5")); err != nil {
		log.Fatal(err)
	}

	for ev, err := range line.Watch(ctx, commyfs.WatchOptions{}) {
		if err != nil {
			log.Fatal(err)
		}
		switch ev.Kind {
		case commyfs.EventInitial:
			fmt.Printf("%s is %s\n", ev.Name, ev.Value)
		case commyfs.EventSynced:
			fmt.Println("that is all there is; changes follow")
			if _, err := line.Put(ctx, "temp", []byte("22.0")); err != nil {
				log.Fatal(err)
			}
		case commyfs.EventModified:
			fmt.Printf("%s becomes %s\n", ev.Name, ev.Value)
			return // ends the watch
		}
	}
	// Output:
	// temp is 21.5
	// that is all there is; changes follow
	// temp becomes 22.0
}

// A program that stores the token of the last event it has dealt with misses nothing while it does not run.
func ExampleService_Watch_since() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()
	jobs := c.Service("plant", "jobs")
	if _, err := jobs.Put(ctx, "1", []byte("paint")); err != nil {
		log.Fatal(err)
	}
	var token commyfs.Token
	for ev, err := range jobs.Watch(ctx, commyfs.WatchOptions{}) {
		if err != nil {
			log.Fatal(err)
		}
		if ev.Kind == commyfs.EventSynced {
			token = ev.Token
			break
		}
	}

	if _, err := jobs.Put(ctx, "2", []byte("dry")); err != nil {
		log.Fatal(err)
	}
	for ev, err := range jobs.Watch(ctx, commyfs.WatchOptions{Since: token}) {
		if errors.Is(err, commyfs.ErrTokenExpired) {
			log.Fatal("too much has changed: watch without the token, which begins with all there is")
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(ev.Kind, ev.Name, string(ev.Value))
		if ev.Kind == commyfs.EventSynced {
			break
		}
	}
	// Output:
	// created 2 dry
	// synced
}

func ExampleService_Update() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()
	s := c.Service("plant", "counters")
	if _, err := s.Create(ctx, "parts", []byte("1")); err != nil {
		log.Fatal(err)
	}

	entry, err := s.Get(ctx, "parts")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := s.Put(ctx, "parts", []byte("7")); err != nil { // somebody else is faster
		log.Fatal(err)
	}
	_, err = s.Update(ctx, "parts", []byte("2"), entry.Version)
	fmt.Println(errors.Is(err, commyfs.ErrConflict))
	// Output: true
}

func ExampleService_Load() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()
	line := c.Service("plant", "line2")
	if _, err := line.Put(ctx, "temp", []byte("21.5")); err != nil {
		log.Fatal(err)
	}

	buf := make([]byte, 0, 64)
	for range 3 { // from memory: neither network nor allocation
		entry, err := line.Load(ctx, "temp", buf)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s ", entry.Value)
	}
	// Output: 21.5 21.5 21.5
}

func ExampleClient_Txn() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()
	stock := c.Service("plant", "stock")
	if _, err := stock.Put(ctx, "in/42", []byte("bolt")); err != nil {
		log.Fatal(err)
	}

	_, err := c.Txn(ctx,
		stock.OpDelete("in/42"),
		stock.OpPut("out/42", []byte("bolt")),
		stock.OpAppend("log", []byte("42 out\n")),
	)
	if err != nil {
		log.Fatal(err) // and none of it was done
	}
	for info, err := range stock.Walk(ctx, "") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(info.Name, info.Dir, info.Size)
	}
	// Output:
	// in true 0
	// log false 7
	// out true 0
	// out/42 false 4
}

func ExampleService_Get_notFound() {
	ctx := context.Background()
	c := connect(ctx)
	defer c.Close()
	_, err := c.Service("plant", "line1").Get(ctx, "nothing of that name")
	fmt.Println(errors.Is(err, commyfs.ErrNotFound), errors.Is(err, iofs.ErrNotExist))
	// Output: true true
}
