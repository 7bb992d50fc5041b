import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openSource } from '../../src/io/sources.ts';
import { openPath } from '../../src/io/localFile.ts';

const folder = mkdtempSync(join(tmpdir(), 'local-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function write(bytes: number): { path: string; data: Buffer } {
  const path = join(folder, `${bytes}.bin`);
  const data = Buffer.from(
    Int32Array.from({ length: Math.ceil(bytes / 4) }, (_, i) => Math.imul(i, 2654435761)).buffer,
  ).subarray(0, bytes);
  writeFileSync(path, data);
  return { path, data };
}

test.each([0, 10, 2 ** 20, 2 ** 20 + 1, 5 * 2 ** 20 + 3])('reads a file of %i bytes', async (bytes) => {
  const { path, data } = write(bytes);
  const { reader, totalBytes } = await openPath(path);
  expect(totalBytes).toBe(bytes);
  const parts: Uint8Array[] = [];
  for (let part; (part = await reader.read());) {
    await new Promise((resolve) => setTimeout(resolve, 1)); // the next part is read meanwhile, and must not overwrite this one
    parts.push(part.slice());
  }
  expect(Buffer.compare(Buffer.concat(parts), data)).toBe(0);
  expect(await reader.read()).toBeUndefined();
});

test('data appended while a file is read is read too', async () => {
  const { path, data } = write(100);
  const { reader } = await openPath(path);
  appendFileSync(path, data);
  expect((await reader.read())!.length).toBe(200);
});

test('a file overwritten while it is read, with the same length, is an error at its end', async () => {
  const { path, data } = write(3 * 2 ** 20 + 1);
  const stream = await openSource(path);
  let received = 0;
  const reading = (async () => {
    for await (const chunk of stream.chunks) {
      if (received === 0) {
        await new Promise((resolve) => setTimeout(resolve, 20)); // longer than the resolution of file modification times
        writeFileSync(
          path,
          data.map((byte) => byte ^ 1),
          { flag: 'r+' },
        );
      }
      received += chunk.length;
    }
  })();
  await expect(reading).rejects.toMatchObject({
    code: 'SOURCE_READ',
    message: expect.stringMatching(/written while it was read/) as string,
  });
  expect(received).toBe(data.length);
});

test('no data follows after cancel, even with a read pending', async () => {
  const { path } = write(3 * 2 ** 20);
  const { reader } = await openPath(path);
  await reader.read();
  await reader.cancel(undefined);
  expect(await reader.read()).toBeUndefined();
});

test('a folder and a missing file are errors', async () => {
  await expect(openPath(folder)).rejects.toMatchObject({ code: 'SOURCE_READ' });
  await expect(openPath(join(folder, 'none'))).rejects.toMatchObject({ code: 'SOURCE_READ' });
});
