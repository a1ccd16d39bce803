package main

import (
	"context"
	"os"
	"time"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/bench/crowd"
)

// fanout delivers every value to many watchers.
func fanout(l *lab, name string) ([]result, error) {
	if _, err := l.server(); err != nil {
		return nil, err
	}
	ours := crowd.NewFanOut()
	connect := func() (*commyfs.Client, error) { return l.client(commyfs.Options{}) }
	if err := ours.Service(context.Background(), tenant, service, connect); err != nil {
		return nil, err
	}
	yardstick, err := l.redisFanout()
	if err != nil {
		return nil, err
	}
	used := []*spender{{name: "server", pid: l.commyfs.pid()}, {name: "clients", pid: os.Getpid()}}
	var arrived int64
	run := spending(func(d time.Duration) (crowd.Sample, error) {
		s, err := ours.Run(d)
		arrived += int64(s.Count)
		return s, err
	}, used, func() int64 { return arrived })
	res, err := l.compare(name, comparison{goal: 0.5, least: true, value: byRate, sides: []side{
		{"50 SDK clients watch, 64 goroutines Put", run}, {"50 clients SUBSCRIBE, 64 PUBLISH", yardstick.Run}},
		note: "times are from the write to the watcher"})
	res.Detail = map[string]float64{"values written a second": ours.Written, "values published a second, Redis": yardstick.Written}
	for _, u := range used {
		res.Detail["us of "+u.name+" for each value delivered"] = u.each()
	}
	return []result{res}, err
}

func (l *lab) redisFanout() (*crowd.FanOut, error) {
	socket, err := l.redis()
	if err != nil {
		return nil, err
	}
	f := crowd.NewFanOut()
	for range crowd.Watchers {
		c, err := dialRedis(socket)
		if err != nil {
			return nil, err
		}
		l.later(c.close)
		if err := c.subscribe("v"); err != nil {
			return nil, err
		}
		p := f.Watch()
		go func() {
			var buf [64]byte
			for {
				value, err := c.message(buf[:])
				if err != nil {
					return // the end
				}
				p.Got(value)
			}
		}()
	}
	for range crowd.Writers {
		c, err := dialRedis(socket)
		if err != nil {
			return nil, err
		}
		l.later(c.close)
		f.Write(func(value []byte) error { return c.publish("v", value) })
	}
	return f, nil
}
