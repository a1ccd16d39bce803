//go:build !noasm && !race

#include "textflag.h"

// Written by hand: avo knows no arm64. R4 and R5 are where in a and b we are,
// and R7 is the last place where a whole block is left.

// UNEQUAL jumps to label if the block at R4, which stays in V0 to V3, differs
// from that at R5.
#define UNEQUAL(label) \
	VLD1 (R4), [V0.B16, V1.B16, V2.B16, V3.B16]; \
	VLD1 (R5), [V4.B16, V5.B16, V6.B16, V7.B16]; \
	VEOR V0.B16, V4.B16, V8.B16; \
	VEOR V1.B16, V5.B16, V9.B16; \
	VEOR V2.B16, V6.B16, V10.B16; \
	VEOR V3.B16, V7.B16, V11.B16; \
	VORR V8.B16, V9.B16, V9.B16; \
	VORR V10.B16, V11.B16, V11.B16; \
	VORR V9.B16, V11.B16, V11.B16; \
	VMOV V11.D[0], R8; \
	VMOV V11.D[1], R9; \
	ORR  R8, R9, R8; \
	CBNZ R8, label

// WEIGHTS gives each byte of V12 the bit that stands for it among its eight.
#define WEIGHTS \
	MOVD $0x8040201008040201, R8; \
	VDUP R8, V12.D2

// MASK gives R8 the mask of the block that UNEQUAL has loaded. Equal bytes become
// their weights, and three times adding neighbours makes a byte of eight of them.
#define MASK \
	VCMEQ V0.B16, V4.B16, V8.B16; \
	VCMEQ V1.B16, V5.B16, V9.B16; \
	VCMEQ V2.B16, V6.B16, V10.B16; \
	VCMEQ V3.B16, V7.B16, V11.B16; \
	VAND  V12.B16, V8.B16, V8.B16; \
	VAND  V12.B16, V9.B16, V9.B16; \
	VAND  V12.B16, V10.B16, V10.B16; \
	VAND  V12.B16, V11.B16, V11.B16; \
	VADDP V9.B16, V8.B16, V8.B16; \
	VADDP V11.B16, V10.B16, V10.B16; \
	VADDP V10.B16, V8.B16, V8.B16; \
	VADDP V8.B16, V8.B16, V8.B16; \
	VMOV  V8.D[0], R8; \
	MVN   R8, R8

// ENTRY writes an entry to R10. UNEQUAL has seen that its mask is not 0.
#define ENTRY \
	SUB  R0, R4, R9; \
	STP.P (R9, R8), 16(R10)

// func firstNEON(a, b *byte, n, pos int) int
TEXT ·firstNEON(SB), NOSPLIT, $0-40
	LDP  a+0(FP), (R0, R1)
	LDP  n+16(FP), (R2, R3)
	ADD  R3, R0, R4
	ADD  R3, R1, R5
	ADD  R2, R0, R6
	SUB  $64, R6, R7

	// Bring R4 to a cache line, unless there is too little for that to pay.
	SUB  R4, R6, R8
	CMP  $512, R8
	BLO  loop
	NEG  R4, R11
	ANDS $63, R11, R11
	BEQ  loop
	UNEQUAL(found)
	ADD  R11, R4
	ADD  R11, R5

	PCALIGN $64
loop:
	CMP  R7, R4
	BHI  tail
	UNEQUAL(found)
	ADD  $64, R4
	ADD  $64, R5
	B    loop

tail:
	// Less than a block is left: the last 64 bytes once more, with it.
	CMP  R6, R4
	BHS  none
	SUB  R4, R7, R8
	ADD  R8, R4
	ADD  R8, R5
	B    loop

none:
	MOVD R2, ret+32(FP)
	RET

found:
	WEIGHTS
	MASK
	RBIT R8, R8
	CLZ  R8, R8
	SUB  R0, R4
	ADD  R8, R4
	MOVD R4, ret+32(FP)
	RET

// SETUP and DONE are what scanNEON and syncNEON begin and end with. R12 is the
// last slot that leaves the room that out must leave.
#define SETUP \
	ADD  R3, R0, R4; \
	ADD  R3, R1, R5; \
	ADD  R2, R0, R6; \
	SUB  $64, R6, R7; \
	ADD  R10<<4, R11, R10; \
	ADD  $(16*124), R11, R12; \
	WEIGHTS

#define DONE \
	SUB  R0, R4; \
	SUB  R11, R10; \
	LSR  $4, R10

// func scanNEON(a, b *byte, n, pos int, out *[entries]entry, cnt int) (next, total int)
TEXT ·scanNEON(SB), NOSPLIT, $0-64
	LDP  a+0(FP), (R0, R1)
	LDP  n+16(FP), (R2, R3)
	LDP  out+32(FP), (R11, R10)
	SETUP
	PCALIGN $64
loop:
	CMP  R7, R4
	BHI  done
	UNEQUAL(some)
next:
	ADD  $64, R4
	ADD  $64, R5
	B    loop

some:
	MASK
	ENTRY
	CMP  R12, R10
	BLS  next
	ADD  $64, R4
done:
	DONE
	STP  (R4, R10), next+48(FP)
	RET

// func syncNEON(a, b *byte, n, pos int, out *[entries]entry, cnt int) (next, total int)
TEXT ·syncNEON(SB), NOSPLIT, $0-64
	LDP  a+0(FP), (R0, R1)
	LDP  n+16(FP), (R2, R3)
	LDP  out+32(FP), (R11, R10)
	SETUP
	PCALIGN $64
loop:
	CMP  R7, R4
	BHI  done
	UNEQUAL(some)
next:
	ADD  $64, R4
	ADD  $64, R5
	B    loop

some:
	MASK
	ENTRY
	VST1 [V0.B16, V1.B16, V2.B16, V3.B16], (R5)
	CMP  R12, R10
	BLS  next
	ADD  $64, R4
done:
	DONE
	STP  (R4, R10), next+48(FP)
	RET
