// Package peers has what the guard is compared with, each as small as possible: XDP programs that do nothing
// but send back or drop, and servers that answer ClientHellos the way their library documents it (in
// subdirectories, compiled on demand; make bench-deps installs what that needs).
package peers
