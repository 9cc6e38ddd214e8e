// An authorization server for the tests: oidc-provider, with the clients and the lifetime
// of tokens that the first argument gives as JSON. It prints one JSON object a line: first
// its issuer, then each token request and each JWK Set that it fetches. It ends when its
// standard input ends, and so with the tests.
import { createServer } from 'node:http';

import Provider from 'oidc-provider';

const { clients, lifetime } = JSON.parse(process.argv[2]);
const print = (entry) => process.stdout.write(`${JSON.stringify(entry)}\n`);

console.info = console.error; // notices of the provider; only records go to standard output
process.stdin.on('end', () => process.exit()).resume();

// record tells of a token request how the client proved itself and what came of it.
function record(ctx, error) {
  const { client_id: id, client_secret: secret, client_assertion: assertion } = ctx.oidc.params ?? {};
  const part = (n) => JSON.parse(Buffer.from(assertion.split('.')[n], 'base64url'));
  const { alg, kid } = assertion ? part(0) : {};
  print({
    client: assertion ? part(1).sub : id ?? ctx.oidc.client?.clientId,
    proof: assertion ? 'assertion' : secret ? 'post' : ctx.get('authorization').split(' ')[0].toLowerCase(),
    alg,
    kid,
    error: error?.error,
    detail: error && (error.error_detail ?? error.error_description),
  });
}

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: clients.map((client) => ({
      grant_types: ['client_credentials'], redirect_uris: [], response_types: [], ...client,
    })),
    scopes: ['read', 'write'],
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt'],
    enabledJWA: { clientAuthSigningAlgValues: ['HS256', 'RS256', 'PS256', 'ES256', 'ES384', 'ES512'] },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true },
      resourceIndicators: { // RFC 8707
        enabled: true,
        getResourceServerInfo: (ctx, resource) => ({ audience: resource, scope: 'read write' }),
      },
    },
    ttl: { ClientCredentials: lifetime },
    httpOptions(url) {
      print({ fetched: url.href });
      return { signal: AbortSignal.timeout(30_000) };
    },
  });
  provider.on('grant.success', (ctx) => record(ctx));
  provider.on('grant.error', record);
  provider.on('server_error', (ctx, error) => console.error(error));
  server.on('request', provider.callback());
  print({ issuer });
});
