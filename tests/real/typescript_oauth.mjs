// typescript_oauth.mjs URL TOOL: the official TypeScript client, which knows nothing but the address.
// It finds out where tokens are had, registers, has its user consent, calls the tool, and prints
// one line of JSON: where it was sent, with which scope, and what it saw.
import { Client, MODERN, StreamableHTTPClientTransport } from './client.mjs';

const [, , url, tool] = process.argv;
let verifier, registered, tokens, sentTo;
const provider = {
  redirectUrl: 'http://127.0.0.1:1/callback',
  clientMetadata: {
    client_name: 'switchboard-tests-typescript',
    redirect_uris: ['http://127.0.0.1:1/callback'],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  },
  state: () => 'of-this-test',
  clientInformation: () => registered,
  saveClientInformation: (information) => {
    registered = information;
  },
  tokens: () => tokens,
  saveTokens: (saved) => {
    tokens = saved;
  },
  redirectToAuthorization: (to) => {
    sentTo = to;
  },
  saveCodeVerifier: (saved) => {
    verifier = saved;
  },
  codeVerifier: () => verifier,
};
let discovery;
provider.saveDiscoveryState = (state) => {
  discovery = state;
};
provider.discoveryState = () => discovery;

const client = () =>
  new Client(
    { name: 'switchboard-tests-typescript', version: '1' },
    { versionNegotiation: { mode: { pin: MODERN } } },
  );
const transport = () => new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });

const first = transport();
try {
  await client().connect(first);
  await first.send({ jsonrpc: '2.0', id: 1, method: 'ping' });
} catch (error) {
  if (!sentTo) throw error;
}
const consented = await fetch(sentTo, { redirect: 'manual' });
await first.finishAuth(new URL(consented.headers.get('location')).searchParams);

const second = client();
await second.connect(transport());
const result = await second.callTool({ name: tool, arguments: { x: 1 } });
const asked = sentTo.searchParams;
process.stdout.write(
  JSON.stringify({ scope: asked.get('scope'), resource: asked.get('resource'), result }) + '\n',
);
await second.close();
