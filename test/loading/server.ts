/** An HTTP server with a checkpoint and configurable faults. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { encodeSafetensors, parseSafetensors } from '../../src/safetensors.ts';
import { padded } from './padded.ts';

const tiny = fileURLToPath(new URL('../fixtures/reference/tiny-plain', import.meta.url));
export const configFile: Buffer = readFileSync(join(tiny, 'config.json'));
export const weightsFile: Buffer = readFileSync(join(tiny, 'model.safetensors'));
export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** The same checkpoint, padded to three cache blocks. */
export const largeFile: Buffer = Buffer.from(padded(weightsFile));

export const largeFiles = (): Map<string, Uint8Array> =>
  new Map<string, Uint8Array>([
    ['config.json', configFile],
    ['model.safetensors', largeFile],
  ]);

/** The checkpoint in `count` shards with their index. */
export function shardsOf(count: number): Map<string, Uint8Array> {
  const { tensors } = parseSafetensors(weightsFile);
  const names = [...tensors.keys()];
  const files = new Map<string, Uint8Array>();
  const weightMap: Record<string, string> = {};
  let total = 0;
  for (let i = 0; i < count; i++) {
    const file = `model-${String(i + 1).padStart(5, '0')}-of-${String(count).padStart(5, '0')}.safetensors`;
    const own = names.filter((_, k) => k % count === i);
    files.set(
      file,
      encodeSafetensors(
        own.map((name) => {
          const { dtype, shape, begin, end } = tensors.get(name)!;
          weightMap[name] = file;
          total += end - begin;
          return [name, { dtype, shape, data: weightsFile.subarray(begin, end) }];
        }),
      ),
    );
  }
  files.set(
    'model.safetensors.index.json',
    new TextEncoder().encode(JSON.stringify({ metadata: { total_size: total }, weight_map: weightMap })),
  );
  return files;
}

/** One request for a file. */
export interface Asked {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Number of earlier requests for this file. */
  readonly count: number;
  readonly range: readonly [begin: number, end: number] | undefined;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** Answers a request and returns true, or returns false to let the server answer. */
export type Fault = (asked: Asked) => boolean | Promise<boolean>;

export interface TestServer {
  readonly url: string;
  files: Map<string, Uint8Array>;
  fault: Fault;
  /** Log of requests, for example `model.safetensors bytes=0-99`. */
  readonly asked: string[];
  /** Body bytes sent so far. */
  sentBytes: number;
  reset(): void;
  close(): Promise<void>;
}

export const plainFiles = (): Map<string, Uint8Array> =>
  new Map<string, Uint8Array>([
    ['config.json', configFile],
    ['model.safetensors', weightsFile],
  ]);

/** Answers correctly: with ranges, a strong ETag and If-Range. */
export function answer(
  { bytes, range, request, response }: Asked,
  headers: Record<string, string> = {},
): void {
  const etag = headers['etag'] ?? `"${sha256(bytes).slice(0, 16)}"`;
  const common = { 'accept-ranges': 'bytes', ...headers, etag };
  const condition = request.headers['if-range'];
  if (range && (condition === undefined || condition === etag)) {
    const [begin, end] = range;
    if (begin >= bytes.length)
      return void response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
    response
      .writeHead(206, {
        ...common,
        'content-range': `bytes ${begin}-${end - 1}/${bytes.length}`,
        'content-length': end - begin,
      })
      .end(bytes.subarray(begin, end));
  } else {
    response.writeHead(200, { ...common, 'content-length': bytes.length }).end(bytes);
  }
}

export async function openServer(): Promise<TestServer> {
  const counts = new Map<string, number>();
  const server = createServer(
    (request, response) =>
      void (async () => {
        const name = decodeURIComponent(request.url!.replace(/^\//, '').replace(/\?.*/, ''));
        const bytes = state.files.get(name) ?? new Uint8Array(0);
        const count = counts.get(name) ?? 0;
        counts.set(name, count + 1);
        const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
        const range = match
          ? ([Number(match[1]), Math.min(match[2] ? Number(match[2]) + 1 : Infinity, bytes.length)] as const)
          : undefined;
        state.asked.push(`${name} ${request.headers.range ?? 'whole'}`);
        const asked = { name, bytes, count, range, request, response };
        if (await state.fault(asked)) return;
        if (!state.files.has(name)) response.writeHead(404).end('not found');
        else answer(asked);
      })(),
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const state: TestServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    files: plainFiles(),
    fault: () => false,
    asked: [],
    sentBytes: 0,
    reset: () => {
      counts.clear();
      state.asked.length = 0;
      state.files = plainFiles();
      state.fault = () => false;
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return state;
}
