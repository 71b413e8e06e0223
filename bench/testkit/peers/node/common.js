// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

// What the clients share: they send standard input, print what comes back, and end with an error if the handshake fails.

exports.address = process.argv[2];
exports.port = Number(process.argv[3]);

exports.converse = (send, close) => {
	console.log("connected");
	process.stdin.on("data", send);
	process.stdin.on("end", () => {
		close();
		setTimeout(() => process.exit(0), 100); // the alert leaves first
	});
};

exports.receive = (data) => process.stdout.write(data);

exports.fail = (error) => {
	console.error(String(error));
	process.exit(1);
};
