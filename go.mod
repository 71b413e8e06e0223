module github.com/dtlsguard/dtlsguard

go 1.26
