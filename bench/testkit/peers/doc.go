// Package peers has what the guard is compared with, each as small as it gets: XDP programs that do nothing
// but send back or drop, and servers that answer ClientHellos the way their library documents it (in
// subdirectories; compiled when they are wanted, for which make bench-deps installs what is needed).
package peers
