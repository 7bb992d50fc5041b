import { describe, expect, it } from 'vitest';
import { locate } from '../../src/io/hub.js';
import { SourceError } from '../../src/errors.js';

const refused = async (run: () => Promise<unknown>): Promise<string> => {
  try {
    await run();
  } catch (error) {
    expect(error).toBeInstanceOf(SourceError);
    expect((error as SourceError).code).toBe('SOURCE_URL');
    return (error as SourceError).message;
  }
  throw new Error('expected an error SOURCE_URL, but nothing was thrown');
};

const main = 'https://huggingface.co/facebook/dinov2-small/resolve/main/';

describe('locate', () => {
  it.each([
    ['facebook/dinov2-small', main],
    [
      'timm/vit_small_patch14_dinov2.lvd142m',
      'https://huggingface.co/timm/vit_small_patch14_dinov2.lvd142m/resolve/main/',
    ],
    ['https://huggingface.co/facebook/dinov2-small', main],
    ['https://huggingface.co/facebook/dinov2-small/', main],
    ['http://huggingface.co/facebook/dinov2-small', main],
    ['huggingface.co/facebook/dinov2-small', main],
    ['https://hf.co/facebook/dinov2-small', main],
    ['https://www.huggingface.co/facebook/dinov2-small?library=transformers#usage', main],
    ['https://huggingface.co/facebook/dinov2-small/tree/main', main],
    ['https://huggingface.co/facebook/dinov2-small/discussions', main],
    ['https://huggingface.co/facebook/dinov2-small/discussions/7', main],
    ['https://huggingface.co/facebook/dinov2-small/blob/main/model.safetensors', main],
    ['https://huggingface.co/facebook/dinov2-small/blob/main/config.json', main],
    ['https://huggingface.co/facebook/dinov2-small/raw/main/config.json', main],
    ['https://huggingface.co/facebook/dinov2-small/resolve/main/model.safetensors?download=true', main],
    ['https://huggingface.co/facebook/dinov2-small/resolve/main', main],
    [main, main],
    [new URL('https://huggingface.co/facebook/dinov2-small'), main],
    [
      'https://huggingface.co/facebook/dinov2-small/tree/refs%2Fpr%2F1',
      'https://huggingface.co/facebook/dinov2-small/resolve/refs%2Fpr%2F1/',
    ],
    [
      'https://huggingface.co/facebook/dinov2-small/tree/v2/folder/inner',
      'https://huggingface.co/facebook/dinov2-small/resolve/v2/folder/inner/',
    ],
    [
      'https://huggingface.co/facebook/dinov2-small/blob/v2/folder/model.safetensors',
      'https://huggingface.co/facebook/dinov2-small/resolve/v2/folder/',
    ],
    ['https://example.com/facebook/dinov2-small', 'https://example.com/facebook/dinov2-small/'],
    ['https://huggingface.co.example.com/a/b', 'https://huggingface.co.example.com/a/b/'],
    ['https://huggingface.co/datasets/owner/name', 'https://huggingface.co/datasets/owner/name/'],
    ['./models/small', './models/small/'],
    ['/models/small/', '/models/small/'],
    ['../huggingface.co/a/b', '../huggingface.co/a/b/'],
  ])('%s → %s', async (id, folder) => expect(await locate(id)).toBe(folder));

  it('reads a revision from the address or the option, and rejects two different ones', async () => {
    const page = 'https://huggingface.co/facebook/dinov2-small';
    const folder = 'https://huggingface.co/facebook/dinov2-small/resolve/abc/';
    expect(await locate(page, { revision: 'abc' })).toBe(folder);
    expect(await locate(`${page}/tree/abc`)).toBe(folder);
    expect(await locate(`${page}/tree/abc`, { revision: 'abc' })).toBe(folder);
    expect(await refused(() => locate(`${page}/tree/abc`, { revision: 'main' }))).toContain(
      'the option revision is main',
    );
    expect(await refused(() => locate('https://example.com/a/', { revision: 'abc' }))).toContain(
      'works with a hub id only',
    );
  });

  it('uses the mirror for every address', async () => {
    expect(await locate('https://huggingface.co/a/b/tree/v1', { baseUrl: 'https://mirror.example/' })).toBe(
      'https://mirror.example/a/b/resolve/v1/',
    );
  });

  it('explains how to load a file with another name', async () => {
    expect(
      await refused(() =>
        locate('https://huggingface.co/microsoft/rad-dino/blob/main/backbone_compatible.safetensors'),
      ),
    ).toContain(
      "fromFiles({ weights: 'https://huggingface.co/microsoft/rad-dino/resolve/main/backbone_compatible.safetensors' })",
    );
    expect(await refused(() => locate('https://huggingface.co/a/b/blob/main/pytorch_model.bin'))).toContain(
      'pytorch_model.bin',
    );
  });

  it('rejects a name without its owner, and a query', async () => {
    expect(await refused(() => locate('dinov2-small'))).toContain('with its owner');
    expect(await refused(() => locate('https://example.com/a?b=c'))).toContain('a query or a fragment');
  });

  it('repeats no query, user name or password in an error message', async () => {
    for (const address of [
      'https://someone:secret@example.com/a?token=secret',
      'https://example.com/a#secret',
      '//someone:secret@example.com/a?secret',
      'https://huggingface.co/a/b/blob/main/pytorch_model.bin?token=secret',
      'https://huggingface.co/a/b/tree/v1?token=secret',
    ])
      expect(await refused(() => locate(address, { revision: 'v2' }))).not.toContain('secret');
  });

  it('accepts a revision in the address that is no valid encoding', async () => {
    expect(await locate('https://huggingface.co/a/b/tree/100%')).toBe(
      'https://huggingface.co/a/b/resolve/100%25/',
    );
  });
});
