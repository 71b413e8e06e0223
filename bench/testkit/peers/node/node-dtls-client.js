// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// A client on node-dtls-client, which has pre-shared keys only.

const {dtls} = require("node-dtls-client");
const {address, port, converse, receive, fail} = require("./common.js");

const socket = dtls.createSocket({
	type: "udp4", address, port, timeout: 10000,
	psk: {me: "key-for-tests"}, ciphers: ["TLS_PSK_WITH_AES_128_GCM_SHA256"],
});
socket.on("connected", () => converse((line) => socket.send(line), () => socket.close()));
socket.on("message", receive);
socket.on("error", fail);
