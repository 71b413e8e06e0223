// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

import java.io.IOException;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Arrays;
import java.util.Base64;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLEngineResult;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509TrustManager;

/**
 * A DTLS client and server on JSSE, by SSLEngine as its reference guide has it.
 *
 *     java Jsse ADDRESS PORT [CERTIFICATE KEY]
 *
 * With a certificate it is a server that echoes; each address is a connection. Without one it is a client that sends its standard input.
 */
final class Jsse {
	private static final int DATAGRAM = 1 << 15;
	private static final int RETRANSMIT_MS = 1000; // RFC 6347 section 4.2.4.1
	private static final int ATTEMPTS = 30;

	/** What carries the datagrams of one association. */
	private interface Link {
		void send(byte[] datagram) throws IOException;

		/** receive returns a datagram, or null after that time. */
		byte[] receive(int milliseconds) throws IOException, InterruptedException;
	}

	public static void main(String[] args) throws Exception {
		InetSocketAddress at = new InetSocketAddress(InetAddress.getByName(args[0]), Integer.parseInt(args[1]));
		if (args.length > 2) {
			serve(at, server(args[2], args[3]));
		} else {
			converse(at);
		}
	}

	private static byte[] pem(String file) throws IOException {
		String text = Files.readString(Path.of(file)).replaceAll("-----[^-]*-----", "");
		return Base64.getMimeDecoder().decode(text);
	}

	private static SSLContext server(String certificate, String key) throws Exception {
		char[] none = new char[0];
		Certificate c;
		try (var in = Files.newInputStream(Path.of(certificate))) {
			c = CertificateFactory.getInstance("X.509").generateCertificate(in);
		}
		KeyStore store = KeyStore.getInstance("PKCS12");
		store.load(null, none);
		store.setKeyEntry("server", KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(pem(key))), none, new Certificate[] {c});
		KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX");
		keys.init(store, none);
		SSLContext context = SSLContext.getInstance("DTLS");
		context.init(keys.getKeyManagers(), null, null);
		return context;
	}

	private static SSLContext client() throws Exception {
		SSLContext context = SSLContext.getInstance("DTLS");
		context.init(null, new TrustManager[] {new X509TrustManager() {
			public void checkClientTrusted(X509Certificate[] chain, String type) {}

			public void checkServerTrusted(X509Certificate[] chain, String type) {}

			public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
		}}, null);
		return context;
	}

	private static SSLEngine engine(SSLContext context, boolean client) {
		SSLEngine engine = context.createSSLEngine();
		engine.setUseClientMode(client);
		SSLParameters p = engine.getSSLParameters();
		p.setMaximumPacketSize(1400);
		engine.setSSLParameters(p);
		return engine;
	}

	private static void serve(InetSocketAddress at, SSLContext context) throws IOException {
		DatagramSocket socket = new DatagramSocket(at);
		Map<SocketAddress, BlockingQueue<byte[]>> connections = new ConcurrentHashMap<>();
		for (;;) {
			DatagramPacket d = new DatagramPacket(new byte[DATAGRAM], DATAGRAM);
			socket.receive(d);
			SocketAddress from = d.getSocketAddress();
			connections.computeIfAbsent(from, key -> {
				BlockingQueue<byte[]> queue = new LinkedBlockingQueue<>();
				Thread t = new Thread(() -> {
					try {
						accept(engine(context, false), socket, from, queue);
					} finally {
						connections.remove(from);
					}
				});
				t.setDaemon(true);
				t.start();
				return queue;
			}).add(Arrays.copyOf(d.getData(), d.getLength()));
		}
	}

	private static void accept(SSLEngine engine, DatagramSocket socket, SocketAddress to, BlockingQueue<byte[]> queue) {
		Link link = new Link() {
			public void send(byte[] datagram) throws IOException { socket.send(new DatagramPacket(datagram, datagram.length, to)); }

			public byte[] receive(int milliseconds) throws InterruptedException { return queue.poll(milliseconds, TimeUnit.MILLISECONDS); }
		};
		try {
			handshake(engine, link);
			System.out.println("accepted");
			while (!engine.isInboundDone()) {
				byte[] data = read(engine, link.receive(60_000));
				if (data == null) {
					break;
				}
				if (data.length > 0) {
					send(engine, link, data);
				}
			}
			System.out.println("closed");
		} catch (IOException | InterruptedException e) {
			System.err.println(to + ": " + e);
		}
	}

	private static void converse(InetSocketAddress to) throws Exception {
		DatagramSocket socket = new DatagramSocket();
		socket.connect(to);
		Link link = new Link() {
			public void send(byte[] datagram) throws IOException { socket.send(new DatagramPacket(datagram, datagram.length)); }

			public byte[] receive(int milliseconds) throws IOException {
				DatagramPacket d = new DatagramPacket(new byte[DATAGRAM], DATAGRAM);
				socket.setSoTimeout(milliseconds);
				try {
					socket.receive(d);
				} catch (SocketTimeoutException e) {
					return null;
				}
				return Arrays.copyOf(d.getData(), d.getLength());
			}
		};
		SSLEngine engine = engine(client(), true);
		handshake(engine, link);
		System.out.println("connected");
		Thread reader = new Thread(() -> {
			try {
				while (!engine.isInboundDone()) {
					byte[] d = link.receive(1000), data = d == null ? null : read(engine, d);
					if (data != null) {
						System.out.write(data, 0, data.length);
						System.out.flush();
					}
				}
			} catch (Exception e) {
				System.exit(1);
			}
		});
		reader.setDaemon(true);
		reader.start();
		byte[] line = new byte[DATAGRAM];
		for (int n; (n = System.in.read(line)) > 0;) {
			send(engine, link, Arrays.copyOf(line, n));
		}
		engine.closeOutbound();
		send(engine, link, new byte[0]);
		System.exit(0);
	}

	/** handshake returns when the engine has finished one. */
	private static void handshake(SSLEngine engine, Link link) throws IOException, InterruptedException {
		ByteBuffer in = ByteBuffer.allocate(0), data = ByteBuffer.allocate(DATAGRAM);
		engine.beginHandshake();
		for (int silent = 0;;) {
			switch (engine.getHandshakeStatus()) {
			case NEED_TASK:
				for (Runnable task; (task = engine.getDelegatedTask()) != null;) {
					task.run();
				}
				break;
			case NEED_WRAP:
				wrap(engine, link, ByteBuffer.allocate(0));
				break;
			case NEED_UNWRAP:
				if (!in.hasRemaining()) {
					byte[] d = link.receive(RETRANSMIT_MS);
					if (d == null && ++silent == ATTEMPTS) {
						throw new SSLException("no answer");
					}
					if (d == null) { // the engine retransmits when it is asked to wrap
						wrap(engine, link, ByteBuffer.allocate(0));
						break;
					}
					in = ByteBuffer.wrap(d);
				}
				unwrap(engine, in, data);
				break;
			case NEED_UNWRAP_AGAIN: // the rest of what came before its turn
				unwrap(engine, ByteBuffer.allocate(0), data);
				break;
			default:
				return;
			}
			if (engine.isInboundDone() || engine.isOutboundDone()) {
				throw new SSLException("closed");
			}
		}
	}

	private static void unwrap(SSLEngine engine, ByteBuffer in, ByteBuffer data) throws SSLException {
		SSLEngineResult r = engine.unwrap(in, data);
		if (r.getStatus() != SSLEngineResult.Status.OK) { // a record that is of no use, or the end
			in.position(in.limit());
		}
	}

	/** wrap sends a flight, or data. */
	private static void wrap(SSLEngine engine, Link link, ByteBuffer data) throws IOException {
		do {
			ByteBuffer out = ByteBuffer.allocate(DATAGRAM);
			SSLEngineResult r = engine.wrap(data, out);
			out.flip();
			if (out.hasRemaining()) {
				byte[] d = new byte[out.remaining()];
				out.get(d);
				link.send(d);
			}
			if (r.getStatus() != SSLEngineResult.Status.OK || r.bytesProduced() == 0) {
				return;
			}
		} while (engine.getHandshakeStatus() == SSLEngineResult.HandshakeStatus.NEED_WRAP);
	}

	private static synchronized void send(SSLEngine engine, Link link, byte[] data) throws IOException {
		wrap(engine, link, ByteBuffer.wrap(data));
	}

	/** read returns the application data of a datagram. */
	private static byte[] read(SSLEngine engine, byte[] datagram) throws SSLException {
		if (datagram == null) {
			return null;
		}
		ByteBuffer in = ByteBuffer.wrap(datagram), data = ByteBuffer.allocate(2 * DATAGRAM);
		while (in.hasRemaining()) {
			if (engine.unwrap(in, data).getStatus() != SSLEngineResult.Status.OK) {
				break;
			}
		}
		data.flip();
		byte[] all = new byte[data.remaining()];
		data.get(all);
		return all;
	}
}
