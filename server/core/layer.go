package core

// layer is a map of changes over something that is only read. Changes since the last keep can be taken back, so that a
// report is carried out whole or not at all.
type layer[K comparable, V any] struct {
	base func(K) V
	over map[K]V
	undo []undone[K, V]
}

type undone[K comparable, V any] struct {
	key K
	val V
	had bool
}

func newLayer[K comparable, V any](base func(K) V) layer[K, V] {
	return layer[K, V]{base: base}
}

func (l *layer[K, V]) get(k K) V {
	if v, ok := l.over[k]; ok {
		return v
	}
	return l.base(k)
}

func (l *layer[K, V]) set(k K, v V) {
	was, had := l.over[k]
	l.undo = append(l.undo, undone[K, V]{k, was, had})
	if l.over == nil {
		l.over = make(map[K]V) // few layers of a batch are changed at all
	}
	l.over[k] = v
}

func (l *layer[K, V]) keep() {
	clear(l.undo)
	l.undo = l.undo[:0]
}

func (l *layer[K, V]) rollback() {
	for i := len(l.undo) - 1; i >= 0; i-- {
		if u := l.undo[i]; u.had {
			l.over[u.key] = u.val
		} else {
			delete(l.over, u.key)
		}
	}
	l.keep()
}
