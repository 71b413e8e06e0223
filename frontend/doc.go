// Package frontend is the daemon: configuration, services, workers, secrets, XDP control, status and administration.
//
// A [Server] is made by [New], which opens sockets, secrets and XDP programs, and runs until the context given to [Server.Run]
// ends. Back ends are asked while it runs, each by a goroutine of its own; [Server.Reload] adds, changes and drains services.
// The configuration that workers use is one immutable value per service, loaded once per batch. Per service and CPU there is
// one worker: a locked thread with a socket of its own in a SO_REUSEPORT group. Workers share nothing that is written per
// packet: a client's datagrams always come to the same worker, and so its flow lives there.
//
// A ClientHello's way: udpbatch -> hello -> handoff (cookie) -> limit -> hello -> udpbatch.
package frontend
