// Package answer checks the answers that a generator receives: whether an answer is the HelloVerifyRequest that its
// question requires ([Check]), and what is wrong with it if not ([Fault]).
//
// It deliberately shares no code with the guard's parser, so that an error there cannot hide here. It does not allocate,
// and any goroutine may call it.
package answer
