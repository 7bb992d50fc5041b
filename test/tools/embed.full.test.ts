// The published `embed` command on the adapter of these tests: vectors equal to the library's, their names,
// and errors for unusable images.
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseSafetensors } from '../../src/safetensors.ts';
import { DINOv2 } from '../../src/dinov2.ts';
import { decodeNpy } from '../../src/tools/npy.ts';
import { sharedDevice } from '../gpu/sharedDevice.ts';
import { caseOf, cosine, photoPath } from '../loading/preprocessors.ts';
import { images, publish, tiny, type Published } from './published.ts';

let line: Published;
beforeAll(async () => void (line = await publish(['webgpu'])));
afterAll(() => line.remove());

async function ofLibrary(names: readonly string[]): Promise<Float32Array[]> {
  const device = await sharedDevice();
  const model = await DINOv2.fromFiles(
    {
      config: readFileSync(join(tiny, 'config.json'), 'utf8'),
      weights: readFileSync(join(tiny, 'model.safetensors')),
    },
    { device, selfTest: false },
  );
  const vectors: Float32Array[] = [];
  for (const name of names) vectors.push(await model.embed(new Blob([readFileSync(join(images, name))])));
  model.dispose();
  return vectors;
}

test('.npy and .safetensors: a named row for each usable image, and a message for each other', async () => {
  const broken = join(line.folder, 'broken.png');
  writeFileSync(broken, readFileSync(join(images, 'rgb.png')).subarray(0, 300));
  const good = ['rgb.png', 'grey.png', 'rgb16.png'];
  const [first, second, third] = good.map((name) => join(images, name)) as [string, string, string];
  const given = [first, broken, second, third];
  const expected = await ofLibrary(good);

  const npy = line.embed(...given, '--out', join(line.folder, 'new/vectors.npy'), '--batch', '2');
  expect(npy).toMatchObject({
    status: 3,
    stdout: expect.stringMatching(/vectors\.npy: 3 × 128, 1 images could not be used/) as string,
    stderr: expect.stringMatching(/^[^\n]*broken\.png: [^\n]*\n$/) as string, // no warnings of Dawn
  });
  const { values, rows, columns } = decodeNpy(
    new Uint8Array(readFileSync(join(line.folder, 'new/vectors.npy'))),
  );
  expect([rows, columns]).toEqual([3, 128]);
  expected.forEach((vector, i) =>
    expect(values.subarray(i * columns, (i + 1) * columns), good[i]).toEqual(vector),
  );
  expect(readFileSync(join(line.folder, 'new/vectors.npy.txt'), 'utf8')).toBe(
    `${[first, second, third].join('\n')}\n`,
  );

  expect(line.embed(first, second, third, '--out', join(line.folder, 'vectors.safetensors'))).toMatchObject({
    status: 0,
  });
  const file = readFileSync(join(line.folder, 'vectors.safetensors'));
  const { tensors, metadata } = parseSafetensors(file);
  expect(JSON.parse(metadata.get('names')!)).toEqual([first, second, third]);
  const { shape, begin, end } = tensors.get('embeddings')!;
  expect(shape).toEqual([3, 128]);
  expect(new Float32Array(new Uint8Array(file.subarray(begin, end)).buffer)).toEqual(values);
});

test('the preprocessor_config.json of the model applies, as in Python', () => {
  for (const name of ['half', 'no crop']) {
    const { preprocessor, cls } = caseOf(name);
    const model = join(line.folder, 'models', name.replace(' ', '-'));
    cpSync(tiny, model, { recursive: true });
    writeFileSync(join(model, 'preprocessor_config.json'), JSON.stringify(preprocessor));
    const out = join(line.folder, `${name}.npy`);
    expect(line.embed(photoPath, '--model', model, '--out', out)).toMatchObject({ status: 0 });
    const { values } = decodeNpy(new Uint8Array(readFileSync(out)));
    expect(1 - cosine(values, cls)).toBeLessThan(1e-6);
    writeFileSync(join(model, 'preprocessor_config.json'), '{"image_processor_type": "SamImageProcessor"}');
    expect(line.embed(photoPath, '--model', model, '--out', out, '--force')).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/SamImageProcessor/) as string,
    });
  }
});

test('without a usable image nothing is written, and an existing file stays', () => {
  const out = join(line.folder, 'before.npy');
  writeFileSync(out, 'what was there');
  const broken = join(line.folder, 'empty.png');
  writeFileSync(broken, '');
  expect(line.embed(broken, '--out', out, '--force')).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/empty\.png: [^\n]*\nembed: no image could be used\.\n$/) as string,
  });
  expect(readFileSync(out, 'utf8')).toBe('what was there');
  expect(existsSync(`${out}.txt`)).toBe(false);
});

test('without the package sharp, a JPEG is refused before the model is loaded', () => {
  const given = [join(images, 'rgb.png'), join(images, '420.jpg')];
  expect(line.embed(...given, '--out', join(line.folder, 'none.npy'))).toMatchObject({
    status: 1,
    stdout: '',
    stderr: expect.stringMatching(
      /^embed: the package sharp is missing, .*: 1 of 2 images, such as /,
    ) as string,
  });
});
