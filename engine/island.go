package engine

import "context"

// LoadIslands reads the islands of all services, in the order of their homes and prefixes.
func (e *Engine) LoadIslands(ctx context.Context, aside Aside) (islands []Island, err error) {
	_, err = e.load(ctx, func(ctx context.Context, rev int64) error {
		islands = nil
		return e.pages(ctx, prefixIsland, rev, func(key string, value []byte) error {
			home, prefix, err := splitIslandKey(key)
			if err != nil {
				return aside.put(Damaged{}, err)
			}
			i, err := decodeIsland(home, prefix, value)
			if err != nil {
				return aside.put(Damaged{Home: home, Prefix: prefix}, err)
			}
			islands = append(islands, i)
			return nil
		}, nil)
	})
	return islands, err
}
