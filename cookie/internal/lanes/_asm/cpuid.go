package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

func cpuid() {
	TEXT("extendedFeatures", attr.NOSPLIT, "func() (ebx uint32)")
	Doc("extendedFeatures is EBX of CPUID leaf 7, 0 if the processor has no such leaf.")
	XORL(EAX, EAX)
	CPUID()
	XORL(EBX, EBX)
	CMPL(EAX, U8(7))
	JB(LabelRef("done"))
	MOVL(U32(7), EAX)
	XORL(ECX, ECX)
	CPUID()
	Label("done")
	Store(EBX, Return("ebx"))
	RET()
}
