// SPDX-License-Identifier: Apache-2.0
// Copyright The dtlsguard Authors

import java.io.IOException;
import java.net.DatagramPacket;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.SocketTimeoutException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.util.Arrays;
import java.util.Base64;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.bouncycastle.crypto.params.AsymmetricKeyParameter;
import org.bouncycastle.crypto.util.PrivateKeyFactory;
import org.bouncycastle.tls.Certificate;
import org.bouncycastle.tls.CertificateRequest;
import org.bouncycastle.tls.CipherSuite;
import org.bouncycastle.tls.DTLSClientProtocol;
import org.bouncycastle.tls.DTLSRequest;
import org.bouncycastle.tls.DTLSServerProtocol;
import org.bouncycastle.tls.DTLSTransport;
import org.bouncycastle.tls.DTLSVerifier;
import org.bouncycastle.tls.DatagramSender;
import org.bouncycastle.tls.DatagramTransport;
import org.bouncycastle.tls.DefaultTlsClient;
import org.bouncycastle.tls.DefaultTlsServer;
import org.bouncycastle.tls.HashAlgorithm;
import org.bouncycastle.tls.ProtocolVersion;
import org.bouncycastle.tls.SignatureAlgorithm;
import org.bouncycastle.tls.SignatureAndHashAlgorithm;
import org.bouncycastle.tls.TlsAuthentication;
import org.bouncycastle.tls.TlsCredentialedSigner;
import org.bouncycastle.tls.TlsCredentials;
import org.bouncycastle.tls.TlsServerCertificate;
import org.bouncycastle.tls.crypto.TlsCertificate;
import org.bouncycastle.tls.crypto.TlsCryptoParameters;
import org.bouncycastle.tls.crypto.impl.bc.BcDefaultTlsCredentialedSigner;
import org.bouncycastle.tls.crypto.impl.bc.BcTlsCrypto;

/**
 * A DTLS client and server on BouncyCastle's low-level API, whose DTLSVerifier asks for cookies without state.
 *
 *     java Bouncy ADDRESS PORT [CERTIFICATE KEY]
 *
 * With a certificate it is a server that echoes. Without one it is a client that sends its standard input.
 */
final class Bouncy {
	private static final int DATAGRAM = 1 << 14;
	private static final int MTU = 1400;
	private static final int PATIENCE_MS = 60_000;
	private static final BcTlsCrypto crypto = new BcTlsCrypto(new SecureRandom());

	public static void main(String[] args) throws Exception {
		InetSocketAddress at = new InetSocketAddress(InetAddress.getByName(args[0]), Integer.parseInt(args[1]));
		if (args.length > 2) {
			serve(at, pem(args[2]), PrivateKeyFactory.createKey(pem(args[3])));
		} else {
			converse(at);
		}
	}

	private static byte[] pem(String file) throws IOException {
		return Base64.getMimeDecoder().decode(Files.readString(Path.of(file)).replaceAll("-----[^-]*-----", ""));
	}

	private static final class Server extends DefaultTlsServer {
		private final byte[] certificate;
		private final AsymmetricKeyParameter key;

		Server(byte[] certificate, AsymmetricKeyParameter key) {
			super(crypto);
			this.certificate = certificate;
			this.key = key;
		}

		protected ProtocolVersion[] getSupportedVersions() { return ProtocolVersion.DTLSv12.only(); }

		protected int[] getSupportedCipherSuites() {
			return new int[] {CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384};
		}

		protected TlsCredentialedSigner getECDSASignerCredentials() throws IOException {
			Certificate chain = new Certificate(new TlsCertificate[] {crypto.createCertificate(certificate)});
			return new BcDefaultTlsCredentialedSigner(
				new TlsCryptoParameters(context), crypto, key, chain, new SignatureAndHashAlgorithm(HashAlgorithm.sha256, SignatureAlgorithm.ecdsa));
		}
	}

	private static final class Client extends DefaultTlsClient {
		Client() { super(crypto); }

		protected ProtocolVersion[] getSupportedVersions() { return ProtocolVersion.DTLSv12.only(); }

		public TlsAuthentication getAuthentication() {
			return new TlsAuthentication() {
				public void notifyServerCertificate(TlsServerCertificate certificate) {}

				public TlsCredentials getClientCredentials(CertificateRequest request) { return null; }
			};
		}
	}

	/** A client's datagrams. */
	private static final class Connection implements DatagramTransport {
		private final BlockingQueue<byte[]> queue = new LinkedBlockingQueue<>();
		private final DatagramSocket socket;
		private final SocketAddress peer;

		Connection(DatagramSocket socket, SocketAddress peer) {
			this.socket = socket;
			this.peer = peer;
		}

		public int getReceiveLimit() { return MTU; }

		public int getSendLimit() { return MTU; }

		public int receive(byte[] to, int offset, int length, int milliseconds) throws IOException {
			try {
				byte[] d = queue.poll(milliseconds, TimeUnit.MILLISECONDS);
				if (d == null) {
					return -1;
				}
				System.arraycopy(d, 0, to, offset, Math.min(length, d.length));
				return Math.min(length, d.length);
			} catch (InterruptedException e) {
				throw new IOException(e);
			}
		}

		public void send(byte[] data, int offset, int length) throws IOException { socket.send(new DatagramPacket(data, offset, length, peer)); }

		public void close() {}
	}

	private static void serve(InetSocketAddress at, byte[] certificate, AsymmetricKeyParameter key) throws IOException {
		DatagramSocket socket = new DatagramSocket(at);
		DTLSVerifier verifier = new DTLSVerifier(crypto);
		Map<SocketAddress, Connection> connections = new ConcurrentHashMap<>();
		for (;;) {
			DatagramPacket d = new DatagramPacket(new byte[DATAGRAM], DATAGRAM);
			socket.receive(d);
			InetSocketAddress from = (InetSocketAddress) d.getSocketAddress();
			Connection known = connections.get(from);
			if (known != null) {
				known.queue.add(Arrays.copyOf(d.getData(), d.getLength()));
				continue;
			}
			Connection fresh = new Connection(socket, from);
			DTLSRequest request = verifier.verifyRequest(from.toString().getBytes(), d.getData(), 0, d.getLength(), fresh);
			if (request == null) {
				continue;
			}
			connections.put(from, fresh);
			Thread t = new Thread(() -> {
				try {
					echo(new DTLSServerProtocol().accept(new Server(certificate, key), fresh, request));
				} catch (IOException e) {
					System.err.println(from + ": " + e);
				} finally {
					connections.remove(from);
				}
			});
			t.setDaemon(true);
			t.start();
		}
	}

	private static void echo(DTLSTransport connection) {
		System.out.println("accepted");
		byte[] data = new byte[DATAGRAM];
		try {
			for (int n; (n = connection.receive(data, 0, data.length, PATIENCE_MS)) >= 0;) {
				connection.send(data, 0, n);
			}
		} catch (IOException e) { // the client has closed
		}
		System.out.println("closed");
	}

	private static void converse(InetSocketAddress to) throws Exception {
		DatagramSocket socket = new DatagramSocket();
		socket.connect(to);
		Connection link = new Connection(socket, to);
		Thread receiver = new Thread(() -> {
			try {
				for (;;) {
					DatagramPacket d = new DatagramPacket(new byte[DATAGRAM], DATAGRAM);
					socket.receive(d);
					link.queue.add(Arrays.copyOf(d.getData(), d.getLength()));
				}
			} catch (IOException e) { // a refusal
				System.exit(1);
			}
		});
		receiver.setDaemon(true);
		receiver.start();
		DTLSTransport connection = new DTLSClientProtocol().connect(new Client(), link);
		System.out.println("connected");
		Thread reader = new Thread(() -> {
			byte[] data = new byte[DATAGRAM];
			try {
				for (int n;;) {
					if ((n = connection.receive(data, 0, data.length, PATIENCE_MS)) > 0) {
						System.out.write(data, 0, n);
						System.out.flush();
					}
				}
			} catch (IOException e) {
				System.exit(1);
			}
		});
		reader.setDaemon(true);
		reader.start();
		byte[] line = new byte[MTU];
		for (int n; (n = System.in.read(line)) > 0;) {
			connection.send(line, 0, n);
		}
		connection.close();
		System.exit(0);
	}
}
