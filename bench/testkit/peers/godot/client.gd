# SPDX-License-Identifier: Apache-2.0
# Copyright The dtlsguard Authors

# A DTLS client on Godot 3.
#
#     godot3-server -s client.gd ADDRESS PORT
extends SceneTree

# printerr, because what print writes stays in a buffer until the end.

var udp := PacketPeerUDP.new()
var dtls := PacketPeerDTLS.new()
var lines := []
var ended := false
var connected := false
var mutex := Mutex.new()
var reader := Thread.new()

func _init():
	var args := Array(OS.get_cmdline_args())
	if udp.connect_to_host(args[args.size() - 2], int(args[args.size() - 1])) != OK or dtls.connect_to_peer(udp, false) != OK:
		printerr("connect")
		quit(1)
	reader.start(self, "read_lines")

# read_lines has sed read standard input: Godot opens files only, and no pipes.
func read_lines(_unused):
	while not ended:
		var output := []
		OS.execute("sh", ["-c", "exec sed -u 1q 2>/dev/null"], true, output)
		mutex.lock()
		if output.empty() or output[0] == "":
			ended = true
		else:
			lines.append(output[0])
		mutex.unlock()

func _idle(_delta):
	dtls.poll()
	match dtls.get_status():
		PacketPeerDTLS.STATUS_HANDSHAKING:
			return false
		PacketPeerDTLS.STATUS_CONNECTED:
			if not connected:
				connected = true
				printerr("connected")
			while dtls.get_available_packet_count() > 0:
				printerr(dtls.get_packet().get_string_from_utf8().strip_edges())
			mutex.lock()
			while not lines.empty():
				dtls.put_packet((lines.pop_front()).to_utf8())
			mutex.unlock()
			if ended:
				reader.wait_to_finish()
				dtls.disconnect_from_peer()
				quit(0)
		_:
			printerr("handshake")
			quit(1)
	return false
