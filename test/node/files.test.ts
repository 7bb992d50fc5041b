// imageFiles: paths, folders and patterns.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { globExpression, imageFiles } from '../../src/node/files.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'files-'));
  for (const name of [
    'b.jpg',
    'a.PNG',
    'notes.txt',
    '.hidden.png',
    'in/c.webp',
    'in/deep/d.jpg',
    'empty/x.txt',
  ]) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), '');
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const found = async (...where: string[]): Promise<string[]> =>
  (await imageFiles(where.map((each) => join(folder, each)))).map((path) => path.slice(folder.length + 1));

test('a folder stands for its images, sorted; a path for itself, each once', async () => {
  expect(await found('.')).toEqual(['a.PNG', 'b.jpg', 'in/c.webp', 'in/deep/d.jpg']);
  expect(await found('b.jpg', 'notes.txt', '.')).toEqual([
    'b.jpg',
    'notes.txt',
    'a.PNG',
    'in/c.webp',
    'in/deep/d.jpg',
  ]);
  expect(await imageFiles(folder, { recursive: false })).toEqual([
    join(folder, 'a.PNG'),
    join(folder, 'b.jpg'),
  ]);
  expect(await imageFiles(pathToFileURL(join(folder, 'b.jpg')))).toEqual([join(folder, 'b.jpg')]);
  expect(await imageFiles('https://example.com/a.jpg')).toEqual(['https://example.com/a.jpg']);
});

test.each(['[z-a].jpg', '{a,{b}.jpg', '**/[z-a]/*.jpg', '{a,{b}/*.jpg'])(
  'the pattern %s is not valid',
  async (pattern) => {
    await expect(found(pattern)).rejects.toMatchObject({
      name: 'OptionError',
      code: 'OPTION_VALUE',
      message: expect.stringContaining(`${pattern}: expected a pattern`) as string,
    });
  },
);

test('patterns', async () => {
  expect(await found('*.jpg')).toEqual(['b.jpg']);
  expect(await found('**/*.jpg')).toEqual(['b.jpg', 'in/deep/d.jpg']);
  expect(await found('in/**')).toEqual(['in/c.webp', 'in/deep/d.jpg']);
  expect(await found('{b,in/c}.{jpg,webp}')).toEqual(['b.jpg', 'in/c.webp']);
  expect(await found('[!b].PNG')).toEqual(['a.PNG']);
  expect(await found('?.*')).toEqual(['a.PNG', 'b.jpg']);
});

test.each<[string, string, boolean]>([
  ['a+(b).png', 'a+(b).png', true],
  ['a.png', 'aXpng', false],
  ['*', 'a/b', false],
  ['**/b', 'b', true],
  ['[a-c]', 'b', true],
  ['[', '[', true],
  ['{a', '{a', true],
])('the pattern %s and the path %s: %s', (pattern, path, matches) => {
  expect(globExpression(pattern).test(path)).toBe(matches);
});

test('errors name the path and what is missing', async () => {
  await expect(found('none.png')).rejects.toThrow(
    /none\.png: there is no such file or folder\. Check the path/,
  );
  await expect(found('empty')).rejects.toThrow(/empty: expected a folder with images .* found none/);
  await expect(found('*.gif')).rejects.toThrow(/\*\.gif: expected a pattern with images/);
  await expect(imageFiles([7 as unknown as string])).rejects.toMatchObject({ code: 'OPTION_VALUE' });
});
