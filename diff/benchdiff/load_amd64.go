//go:build !noasm

package main

import "github.com/klauspost/cpuid/v2"

//go:generate go run -C ../_asm . loads -out ../benchdiff/load_amd64.s

const loads = true

// wide says whether load512 can run here.
var wide = cpuid.CPU.Supports(cpuid.AVX512F)

// load512 and load256 load n bytes of a and of b, a multiple of 256, with
// registers of that many bits, and do nothing with them.
//
//go:noescape
func load512(a, b *byte, n int)

//go:noescape
func load256(a, b *byte, n int)
