import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, test, vi } from 'vitest';
import {
  dtypeBits,
  encodeSafetensors,
  encodeSafetensorsHeader,
  parseSafetensors,
} from '../../src/safetensors.js';
import type { SafetensorsDtype } from '../../src/safetensors.js';
import { MAX_CHUNK_BYTES } from '../../src/io/sources.js';
import type { ByteSource } from '../../src/io/sources.js';
import { openTensors } from '../../src/safetensors/tensorStream.js';
import type { ReadProgress, TensorStreamOptions } from '../../src/safetensors/tensorStream.js';
import { DINOv2Error, SafetensorsError, SourceError } from '../../src/errors.js';

function random(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % n;
  };
}

/**
 * A file with tensors of these types and lengths, without gaps. The library's own writer is not used because it
 * aligns tensors.
 */
function unalignedFile(
  specs: readonly (readonly [name: string, dtype: SafetensorsDtype, elements: number])[],
  pad = 0,
): Uint8Array<ArrayBuffer> {
  let at = 0;
  const members = specs.map(([name, dtype, elements]) => {
    const begin = at;
    at += (elements * dtypeBits(dtype)!) / 8;
    return `"${name}":{"dtype":"${dtype}","shape":[${elements}],"data_offsets":[${begin},${at}]}`;
  });
  members.reverse(); // the header has another order than the data
  const json = new TextEncoder().encode(`{${members.join(',')}}${' '.repeat(pad)}`);
  const file = new Uint8Array(8 + json.length + at);
  new DataView(file.buffer).setUint32(0, json.length, true);
  file.set(json, 8);
  for (let i = 8 + json.length; i < file.length; i++) {
    file[i] = (i * 13 + (i >> 8)) & 255;
  }
  return file;
}

function streamOf(
  file: Uint8Array,
  nextLength: () => number,
  onCancel?: (reason: unknown) => void,
): ReadableStream<Uint8Array> {
  let at = 0;
  return new ReadableStream(
    {
      pull(controller) {
        if (at >= file.length) {
          controller.close();
          return;
        }
        const end = Math.min(file.length, at + nextLength());
        controller.enqueue(file.slice(at, end));
        at = end;
      },
      cancel: (reason) => onCancel?.(reason),
    },
    { highWaterMark: 0 },
  );
}

/**
 * Reads all pieces, checks the guarantees for each, and compares the assembled tensors with the file. Returns the
 * number of pieces.
 */
async function readBack(
  source: ByteSource,
  file: Uint8Array,
  options: TensorStreamOptions = {},
): Promise<number> {
  const { header, pieces } = await openTensors(source, options);
  expect(header).toEqual(parseSafetensors(file));
  const found = new Map<string, Uint8Array>();
  let count = 0;
  let fileAt = header.dataBegin;
  for await (const { name, info, offset, bytes } of pieces) {
    const size = Math.max(1, dtypeBits(info.dtype)! >> 3);
    const grain = info.dtype.startsWith('F6_') ? 3 : size;
    expect(info).toBe(header.tensors.get(name));
    expect(info.begin + offset).toBe(fileAt); // pieces are in file order, without gaps
    expect(offset % grain).toBe(0);
    expect(bytes.length % grain).toBe(0);
    expect(bytes.byteOffset % size).toBe(0);
    expect(bytes.length).toBeGreaterThan(0);
    expect(bytes.length).toBeLessThanOrEqual(MAX_CHUNK_BYTES);
    const tensor = found.get(name) ?? new Uint8Array(info.end - info.begin);
    tensor.set(bytes, offset);
    found.set(name, tensor);
    fileAt += bytes.length;
    count++;
  }
  expect(fileAt).toBe(file.length);
  for (const [name, { begin, end }] of header.tensors) {
    expect(Buffer.compare(found.get(name) ?? new Uint8Array(0), file.subarray(begin, end)), name).toBe(0);
  }
  return count;
}

async function failure(source: ByteSource, options?: TensorStreamOptions): Promise<DINOv2Error> {
  try {
    for await (const _ of (await openTensors(source, options)).pieces) {
      // all of them
    }
  } catch (error) {
    expect(error).toBeInstanceOf(DINOv2Error);
    return error as DINOv2Error;
  }
  throw new Error('nothing was thrown');
}

const small = unalignedFile([
  ['empty first', 'F32', 0],
  ['odd', 'U8', 3],
  ['floats', 'F32', 1000],
  ['empty middle', 'F16', 0],
  ['halves', 'BF16', 501],
  ['more', 'U8', 1],
  ['doubles', 'F64', 77],
  ['sixes', 'F6_E2M3', 32],
  ['fours', 'F4', 30],
  ['complex', 'C64', 9],
  ['empty last', 'I64', 0],
]);

describe('every byte of every tensor is delivered once, in order', () => {
  test('from bytes, at any alignment of the buffer', async () => {
    for (let shift = 0; shift < 8; shift++) {
      const shifted = new Uint8Array(small.length + shift);
      shifted.set(small, shift);
      expect(await readBack(shifted.subarray(shift), small)).toBe(8);
    }
  });

  test('from a Blob and an ArrayBuffer', async () => {
    expect(await readBack(new Blob([small]), small)).toBe(8);
    expect(await readBack(small.buffer, small)).toBe(8);
  });

  test.each([1, 2, 3, 5, 7, 8, 64, 1000, 4096, 100_000])(
    'from a stream of chunks of %i bytes',
    async (length) => {
      expect(
        await readBack(
          streamOf(small, () => length),
          small,
        ),
      ).toBe(8); // a small tensor is one piece, however the chunks divide it
    },
  );

  test('from a stream of chunks of random lengths, with headers of every length modulo 8', async () => {
    for (let seed = 0; seed < 60; seed++) {
      const next = random(seed);
      const types = ['U8', 'F4', 'F6_E3M2', 'F16', 'F32', 'F64'] as const;
      const specs = Array.from(
        { length: 1 + next(6) },
        (_, i) => [`t${i}`, types[next(types.length)]!, 4 * next(40)] as const,
      );
      const file = unalignedFile(specs, seed % 8);
      const most = 1 + next(200);
      await readBack(
        streamOf(file, () => 1 + next(most)),
        file,
      );
    }
  });

  test('from a file of many chunks, cut anywhere', async () => {
    const large = unalignedFile([
      ['a', 'U8', 1],
      ['b', 'F32', 1_200_001],
      ['c', 'F6_E2M3', 4 * 1_500_001],
      ['d', 'F64', 700_000],
    ]);
    await readBack(large, large);
    await readBack(new Blob([large]), large);
    const next = random(5);
    await readBack(
      streamOf(large, () => 1 + next(1_000_000)),
      large,
    );
    await readBack(
      streamOf(large, () => 65_536),
      large,
    );
    await readBack(
      streamOf(large, () => large.length),
      large,
    );
  });

  test('aligned bytes in memory are passed on without a copy', async () => {
    const data = new Float32Array(3_000_000);
    const file = encodeSafetensors([['w', { dtype: 'F32', shape: [3_000_000], data }]]);
    for await (const { bytes } of (await openTensors(file)).pieces) {
      expect(bytes.buffer).toBe(file.buffer);
    }
  });

  test('short chunks are gathered into pieces of 1 MiB', async () => {
    const file = encodeSafetensors([
      ['w', { dtype: 'F32', shape: [3_000_000], data: new Float32Array(3_000_000) }],
    ]);
    expect(
      await readBack(
        streamOf(file, () => 65_536),
        file,
      ),
    ).toBe(12);
  });

  test('a file without tensors has no pieces, and is read to its end', async () => {
    const { bytes } = encodeSafetensorsHeader([]);
    expect(
      await readBack(
        streamOf(bytes, () => 3),
        bytes,
      ),
    ).toBe(0);
    expect((await failure(streamOf(Uint8Array.of(...bytes, 0), () => 3))).code).toBe('TRAILING_BYTES');
  });

  test('a checkpoint written by the reference', async () => {
    const file = readFileSync(
      new URL('../fixtures/reference/tiny-registers/model.safetensors', import.meta.url),
    );
    const next = random(9);
    await readBack(
      streamOf(file, () => 1 + next(5000)),
      file,
    );
  });
});

describe('errors', () => {
  const cases = JSON.parse(
    readFileSync(new URL('../fixtures/malformed/safetensors-cases.json', import.meta.url), 'utf8'),
  ) as {
    name: string;
    expect: string;
    base64: string;
  }[];

  test('are the expected ones for all malformed files, from bytes and from a stream', async () => {
    for (const { name, expect: expected, base64 } of cases) {
      const file = new Uint8Array(Buffer.from(base64, 'base64'));
      const read = async (source: ByteSource): Promise<string> => {
        try {
          for await (const _ of (await openTensors(source)).pieces) {
            // all of them
          }
          return 'accept';
        } catch (error) {
          expect(error).toBeInstanceOf(DINOv2Error);
          return (error as DINOv2Error).code;
        }
      };
      expect(await read(file), name).toBe(expected);
      // The length of a stream is unknown, so truncated data shows only at its end, and a header that exceeds the
      // file is only too large.
      const streamed =
        name === 'zip magic'
          ? 'HEADER_TOO_LARGE'
          : expected === 'DATA_TRUNCATED'
            ? 'SOURCE_TRUNCATED'
            : expected;
      expect(await read(streamOf(file, () => 1)), name).toBe(streamed);
    }
  });

  test('name the tensor in which a stream ends early', async () => {
    for (let length = 8; length < small.length; length += 41) {
      const error = await failure(streamOf(small.subarray(0, length), () => 100));
      const { dataBegin, tensors } = parseSafetensors(small);
      if (length < dataBegin) {
        expect(error.code).toBe('HEADER_PAST_EOF');
      } else {
        const [name, info] = [...tensors].find(([, { begin, end }]) => begin <= length && length < end)!;
        expect(error).toBeInstanceOf(SourceError);
        expect(error.code).toBe('SOURCE_TRUNCATED');
        const told = `expected ${small.length} bytes, found ${length}: the source ended in tensor "${name}", after ${length - info.begin} of its`;
        expect(error.message).toContain(told);
      }
    }
  });

  test('are thrown for bytes after the last tensor', async () => {
    const longer = new Uint8Array(small.length + 1);
    longer.set(small);
    for (const source of [
      longer,
      new Blob([longer]),
      streamOf(longer, () => 97),
      streamOf(longer, () => small.length),
    ]) {
      const error = await failure(source);
      expect(error).toBeInstanceOf(SafetensorsError);
      expect(error.code).toBe('TRAILING_BYTES');
    }
  });

  test('end the reading of an endless stream one chunk after the last tensor', async () => {
    const cancel = vi.fn();
    let enqueued = 0;
    const file = encodeSafetensors([['a', { dtype: 'U8', shape: [10], data: new Uint8Array(10) }]]);
    const endless = new ReadableStream<Uint8Array>(
      { pull: (controller) => controller.enqueue(enqueued++ === 0 ? file : new Uint8Array(10)), cancel },
      { highWaterMark: 0 },
    );
    expect((await failure(endless)).code).toBe('TRAILING_BYTES');
    expect(enqueued).toBe(2);
    expect(cancel).toHaveBeenCalledTimes(1);
  });

  test('are thrown for a header that is too long before it arrives', async () => {
    const cancel = vi.fn();
    const prefix = new Uint8Array(8);
    new DataView(prefix.buffer).setUint32(0, 1000, true);
    const source = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(prefix),
      cancel,
    });
    const error = await failure(source, { maxHeaderBytes: 999 });
    expect(error.code).toBe('HEADER_TOO_LARGE');
    expect(cancel).toHaveBeenCalledTimes(1);
    expect(source.locked).toBe(false);
  });
});

describe('progress', () => {
  test('counts every byte, and knows the total as soon as the header is read', async () => {
    const seen: ReadProgress[] = [];
    await readBack(
      streamOf(small, () => 500),
      small,
      { onProgress: (progress) => seen.push(progress) },
    );
    expect(seen.map(({ loadedBytes }) => loadedBytes)).toEqual(
      Array.from({ length: Math.ceil(small.length / 500) }, (_, i) => Math.min(small.length, (i + 1) * 500)),
    );
    expect(seen[0]!.totalBytes).toBeUndefined();
    expect(seen.at(-1)).toEqual({ loadedBytes: small.length, totalBytes: small.length });
  });

  test('knows the total from the start, if the source does', async () => {
    const seen: ReadProgress[] = [];
    await readBack(new Blob([small]), small, { onProgress: (progress) => seen.push(progress) });
    expect(seen).toEqual([{ loadedBytes: small.length, totalBytes: small.length }]);
  });

  test('ends the reading if onProgress throws', async () => {
    const cancel = vi.fn();
    const stop = new Error('stop');
    const source = streamOf(small, () => 500, cancel);
    const reading = readBack(source, small, {
      onProgress: ({ loadedBytes }) => {
        if (loadedBytes > 2000) {
          throw stop;
        }
      },
    });
    await expect(reading).rejects.toBe(stop);
    expect(cancel).toHaveBeenCalledTimes(1);
  });
});

describe('stopping', () => {
  const reason = new Error('enough');

  test.each([0, 4, 100, 3000])(
    'an abort after %i bytes of a hanging stream cancels it and releases its reader',
    async (length) => {
      const cancel = vi.fn();
      const source = new ReadableStream<Uint8Array>({
        start: (controller) => void (length > 0 && controller.enqueue(small.slice(0, length))),
        cancel,
      });
      const controller = new AbortController();
      const reading = readBack(source, small, { signal: controller.signal });
      setTimeout(() => controller.abort(reason), 5);
      await expect(reading).rejects.toBe(reason);
      expect(cancel).toHaveBeenCalledExactlyOnceWith(reason);
      expect(source.locked).toBe(false);
    },
  );

  test('an abort between two pieces of one chunk ends the reading at the next piece', async () => {
    for (const how of ['abort', 'cancel'] as const) {
      const controller = new AbortController();
      const stream = await openTensors(small, { signal: controller.signal });
      const iterator = stream.pieces[Symbol.asyncIterator]();
      await iterator.next();
      if (how === 'abort') {
        controller.abort(reason);
      } else {
        await stream.cancel(reason);
      }
      await expect(iterator.next()).rejects.toBe(reason);
    }
  });

  test('an abort after the last piece still rejects', async () => {
    const controller = new AbortController();
    const file = encodeSafetensors([['a', { dtype: 'U8', shape: [1], data: new Uint8Array(1) }]]);
    const iterator = (await openTensors(file, { signal: controller.signal })).pieces[Symbol.asyncIterator]();
    await iterator.next();
    controller.abort(reason);
    await expect(iterator.next()).rejects.toBe(reason);
  });

  test('leaving the loop cancels and releases the source', async () => {
    const cancel = vi.fn();
    const source = streamOf(small, () => 500, cancel);
    for await (const _ of (await openTensors(source)).pieces) {
      break;
    }
    expect(cancel).toHaveBeenCalledTimes(1);
    expect(source.locked).toBe(false);
  });

  test('cancel works before anything is read', async () => {
    const cancel = vi.fn();
    const stream = await openTensors(streamOf(small, () => 500, cancel));
    await stream.cancel(reason);
    expect(cancel).toHaveBeenCalledExactlyOnceWith(reason);
  });

  test('a second loop is an error', async () => {
    const { pieces } = await openTensors(small);
    const drain = async (): Promise<void> => {
      for await (const _ of pieces) {
        // all of them
      }
    };
    await drain();
    await expect(drain()).rejects.toMatchObject({ code: 'SOURCE_READ' });
  });
});

test('from a server, complete and truncated', async () => {
  const server = createServer((request, response) => {
    response.writeHead(200, request.url === '/wrong-length' ? {} : { 'content-length': small.length });
    if (request.url === '/cut') {
      response.write(small.subarray(0, 3000), () => response.destroy());
    } else {
      response.end(request.url === '/wrong-length' ? small.subarray(0, 3000) : small);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const root = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    await readBack(`${root}/model.safetensors`, small);
    expect((await failure(`${root}/cut`)).message).toContain(`expected ${small.length} bytes, found 3000`);
    const error = await failure(`${root}/wrong-length`);
    expect(error.code).toBe('SOURCE_TRUNCATED');
    expect(error.message).toContain('the source ended in tensor "floats"');
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
