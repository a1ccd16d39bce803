package transport

import (
	"context"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// benchPair answers every request at once.
func benchPair(b *testing.B, s *testServer, o DialOptions) *Client {
	b.Helper()
	o.URL = s.url
	conn, err := Dial(context.Background(), o)
	if err != nil {
		b.Fatal(err)
	}
	server := <-s.conns
	go func() {
		for {
			envs, err := server.Receive()
			if err != nil {
				return
			}
			replies := make([]Envelope, 0, 8)
			for _, e := range envs {
				replies = append(replies, Envelope{ID: e.ID, Message: &VariableChangesAcknowledged{Seq: 1, Results: []model.Result{{ID: 2000, Version: 7}}}})
			}
			if server.Send(replies...) != nil {
				return
			}
		}
	}()
	client := NewClient(conn, ClientOptions{})
	b.Cleanup(func() { _ = client.Close() })
	return client
}

func BenchmarkCall(b *testing.B) {
	secure := &testServer{}
	ca := secure.onTLS(b)
	for _, bb := range []struct {
		name string
		s    *testServer
		o    DialOptions
	}{
		{"unix", (&testServer{}).onUnix(b), DialOptions{}},
		{"tls", secure, DialOptions{CAFile: ca}},
	} {
		client := benchPair(b, bb.s, bb.o)
		for _, size := range []struct {
			name  string
			bytes int
		}{{"100B", 100}, {"4KiB", 4 << 10}, {"64KiB", 64 << 10}, {"1MiB", 1 << 20}} {
			req := report(1, payload(size.bytes, 0))
			b.Run(bb.name+"/"+size.name, func(b *testing.B) {
				b.SetBytes(int64(size.bytes))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := client.Call(context.Background(), req); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(bb.name+"/100B parallel", func(b *testing.B) {
			req := report(1, payload(100, 0))
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := client.Call(context.Background(), req); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func BenchmarkCodec(b *testing.B) {
	e := Envelope{ID: 77, Message: &VariableChanged{Service: 1024, Rev: 99, Changes: []model.Event{
		{Kind: model.EventSet, ID: 2000, Name: "sensors/outside/temperature", Version: 17, MTime: 1, Writer: "host:1", Size: 100, Data: payload(100, 0)},
	}}}
	wire, err := AppendEnvelope(nil, e)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			if buf, err = AppendEnvelope(buf[:0], e); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := DecodeEnvelope(wire); err != nil {
				b.Fatal(err)
			}
		}
	})
}
