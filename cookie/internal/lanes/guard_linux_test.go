package lanes

import (
	mrand "math/rand/v2"
	"syscall"
	"testing"
	"unsafe"
)

// guarded returns n bytes between two pages that cannot be touched, at the end of the space or at its start.
func guarded(t *testing.T, n int, end bool) []byte {
	page := syscall.Getpagesize()
	size := (n + page - 1) / page * page
	m, err := syscall.Mmap(-1, 0, size+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(m); err != nil {
			t.Error(err)
		}
	})
	for _, fence := range [][]byte{m[:page], m[page+size:]} {
		if err := syscall.Mprotect(fence, syscall.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	if end {
		return m[page+size-n : page+size]
	}
	return m[page : page+n]
}

// Kernels stay within the words and cookies of a batch, also where it is not a whole number of groups.
func TestKernelsStayInBounds(t *testing.T) {
	k := newKey(testSecret("bounds"), 5)
	r := mrand.New(mrand.NewPCG(71, 72))
	eachPlan(t, func(t *testing.T, p *Plan) {
		for _, capacity := range []int{16, 32, 144, 1024} {
			for _, end := range []bool{false, true} {
				b := p.NewBatch(capacity)
				w, c := guarded(t, 4*len(b.words), end), guarded(t, Size*len(b.cookies), end)
				b.words = unsafe.Slice((*uint32)(unsafe.Pointer(&w[0])), len(b.words))
				b.cookies = unsafe.Slice((*[Size]byte)(unsafe.Pointer(&c[0])), len(b.cookies))
				for n := 1; n <= capacity; n += 1 + capacity/64 {
					b.Reset(n)
					var last *Message
					for range n {
						last = randomMessage(r)
						b.Add(last)
					}
					b.Sum(k)
					if want := k.Sum(last); !b.Equal(n-1, want[:]) {
						t.Fatalf("%d of %d: last cookie is wrong", n, capacity)
					}
				}
			}
		}
	})
}
