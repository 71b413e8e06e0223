// Package answer checks the answers that a generator gets: whether it is the HelloVerifyRequest that its question must
// get ([Check]), and if not, what is wrong with it ([Fault]).
//
// It is deliberately not the guard's own parser: an error there must not hide here. Nothing in it allocates, and all
// of it may be called from anywhere.
package answer
