//go:build !amd64 || noasm

package main

const loads = false

var wide = false

func load512(a, b *byte, n int) {}

func load256(a, b *byte, n int) {}
