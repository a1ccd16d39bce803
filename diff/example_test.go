package diff_test

import (
	"fmt"

	"github.com/commy-project/commyfs/diff"
)

func Example() {
	shadow := []byte("temperature=20 humidity=40")
	cur := []byte("temperature=21 humidity=38")

	fmt.Println(diff.Append(nil, cur, shadow, 0))
	fmt.Println(diff.Append(nil, cur, shadow, diff.DefaultGap))
	// Output:
	// [{13 1} {24 2}]
	// [{13 13}]
}

// Each call of Sync says what changed since the last one.
func ExampleSync() {
	cur := []byte("on  off off")
	shadow := make([]byte, len(cur))
	copy(shadow, cur)

	copy(cur[4:], "on ")
	var ranges []diff.Range
	ranges = diff.Sync(ranges[:0], cur, shadow, diff.DefaultGap)
	for _, r := range ranges {
		fmt.Printf("%d: %q\n", r.Off, shadow[r.Off:r.Off+r.Len])
	}
	fmt.Println(len(diff.Sync(ranges[:0], cur, shadow, diff.DefaultGap)))
	// Output:
	// 5: "n "
	// 0
}
