// The published command line: bin/ with dist/.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeSafetensors, parseSafetensors } from '../../src/safetensors.ts';
import { putBuild } from '../builds.ts';
import { shardsOf } from '../loading/server.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const tiny = join(root, 'test/fixtures/reference/tiny-plain');
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cli-'));
  for (const name of ['bin', 'package.json'])
    cpSync(join(root, name), join(folder, name), { recursive: true });
  for (const mode of ['library', 'tools'] as const) await putBuild(mode, join(folder, 'dist'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function run(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [join(folder, 'bin/dinov2-webgpu.mjs'), ...args], {
    encoding: 'utf8',
    cwd: folder,
  });
}

test('inspect', () => {
  const { status, stdout } = run('inspect', join(tiny, 'model.safetensors'));
  expect(status).toBe(0);
  expect(stdout).toMatch(
    /1909560 bytes.*43 tensors[^]*dialect +huggingface[^]*embed_dim 128, 2 blocks[^]*"embeddings\.cls_token" F32 \[1, 1, 128\]/,
  );
});

test('convert writes a checkpoint with its config.json, and writes nothing if it fails', () => {
  const out = join(folder, 'int8');
  expect(run('convert', tiny, '--dtype', 'int8', '--out', out).status).toBe(0);
  expect(readFileSync(join(out, 'config.json'), 'utf8')).toBe(
    readFileSync(join(tiny, 'config.json'), 'utf8'),
  );
  const { tensors } = parseSafetensors(readFileSync(join(out, 'model.safetensors')));
  expect(tensors.get('encoder.layer.0.mlp.fc1.weight')).toMatchObject({ dtype: 'I8', shape: [512, 128] });
  expect(tensors.get('encoder.layer.0.mlp.fc1.weight_scale')).toMatchObject({ dtype: 'F32', shape: [512] });
  const again = run('convert', out, '--dtype', 'fp16', '--out', join(folder, 'twice'));
  expect(again).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/CHECKPOINT_DTYPE.*Convert the original/) as string,
  });
  expect(existsSync(join(folder, 'twice')) ? readdirSync(join(folder, 'twice')) : []).toEqual([]);
});

/** Writes a checkpoint with renamed tensors and without config.json. */
function renamed(folderName: string, rename: (name: string) => readonly string[]): string {
  const bytes = new Uint8Array(readFileSync(join(tiny, 'model.safetensors')));
  const own = join(folder, folderName);
  mkdirSync(own);
  writeFileSync(
    join(own, 'model.safetensors'),
    encodeSafetensors(
      [...parseSafetensors(bytes).tensors].flatMap(([name, { dtype, shape, begin, end }]) =>
        rename(name).map((theirs) => [theirs, { dtype, shape, data: bytes.slice(begin, end) }] as const),
      ),
    ),
  );
  return own;
}

test('convert reads prefixed tensor names without config.json, and writes the names of the Hub', () => {
  const out = join(folder, 'unwrapped');
  const own = renamed('wrapped', (name) => [
    `module.${name}`,
    ...(name.endsWith('cls_token') ? ['ema.norm'] : []),
  ]);
  writeFileSync(join(own, 'preprocessor_config.json'), '{"image_mean":[0.5,0.5,0.5]}');
  expect(run('convert', join(own, 'model.safetensors'), '--dtype', 'fp16', '--out', out)).toMatchObject({
    status: 0,
    stderr: expect.stringMatching(
      /assumed: The model has 2 heads of width 64[^]*left out .*: ema\.norm/,
    ) as string,
  });
  expect(readdirSync(out).sort()).toEqual(['config.json', 'model.safetensors', 'preprocessor_config.json']);
  expect(JSON.parse(readFileSync(join(out, 'config.json'), 'utf8'))).toMatchObject({ model_type: 'dinov2' });
  expect(parseSafetensors(readFileSync(join(out, 'model.safetensors'))).tensors.size).toBe(43);
  expect(run('inspect', own).stdout).toMatch(
    /dialect +huggingface, prefix "module\."[^]*set aside +"ema\.norm"/,
  );
});

test('convert needs --prefix for a file with two models, and refuses checkpoints that do not load', () => {
  const own = renamed('two', (name) => [`student.${name}`, `teacher.${name}`]);
  const out = join(folder, 'one');
  expect(run('convert', own, '--dtype', 'fp16', '--out', out)).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/CHECKPOINT_NAMING.*"student\." .*"teacher\."/) as string,
  });
  expect(run('inspect', own).stdout).toMatch(/does not load: .*"teacher\."/);
  expect(existsSync(out)).toBe(false);
  expect(run('convert', own, '--dtype', 'fp16', '--out', out, '--prefix', 'teacher').status).toBe(0);

  writeFileSync(join(own, 'config.json'), JSON.stringify({ model_type: 'vit' }));
  expect(
    run('convert', own, '--dtype', 'fp16', '--out', join(folder, 'none'), '--prefix', 'teacher'),
  ).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/CONFIG_UNSUPPORTED.*found "vit"/) as string,
  });
  const partial = renamed('partial', (name) => (name.includes('norm1.bias') ? [] : [name]));
  expect(run('convert', partial, '--dtype', 'fp16', '--out', join(folder, 'none'))).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/CHECKPOINT_TENSORS.*2 missing/) as string,
  });
  expect(existsSync(join(folder, 'none'))).toBe(false);
});

test('convert never overwrites its input, also through links and other spellings of the path', () => {
  const own = join(folder, 'own');
  cpSync(tiny, own, { recursive: true });
  symlinkSync(own, join(folder, 'link'));
  mkdirSync(join(folder, 'linked'));
  symlinkSync(join(own, 'model.safetensors'), join(folder, 'linked/model.safetensors'));
  const before = readFileSync(join(own, 'model.safetensors'));
  const file = join(own, 'model.safetensors');
  for (const [input, out] of [
    [own, own],
    [own, `${relative(folder, own)}/../own/`],
    [own, join(folder, 'link')],
    [join(folder, 'link'), own],
    [file, own],
    [join(folder, 'linked'), own],
  ] as const) {
    expect(run('convert', input, '--dtype', 'fp16', '--out', out), `${input} ${out}`).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/convert: --out would overwrite an input/) as string,
    });
    expect(readFileSync(file).equals(before)).toBe(true);
    expect(readdirSync(own).filter((name) => name.endsWith('.part'))).toEqual([]);
  }
});

test('convert leaves files alone whose names look temporary', () => {
  const out = join(folder, 'half');
  cpSync(tiny, out, { recursive: true });
  const part = join(out, 'model.safetensors.part');
  renameSync(join(out, 'model.safetensors'), part);
  const before = readFileSync(part);
  expect(run('convert', part, '--dtype', 'fp16', '--out', out).status).toBe(0);
  expect(readFileSync(part).equals(before)).toBe(true);
});

test('convert does not replace an unreadable config.json by a guess', () => {
  const own = join(folder, 'unreadable');
  cpSync(tiny, own, { recursive: true });
  rmSync(join(own, 'config.json'));
  mkdirSync(join(own, 'config.json'));
  const out = join(folder, 'guessed');
  expect(run('convert', own, '--dtype', 'fp16', '--out', out)).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/^EISDIR: /) as string,
  });
  expect(existsSync(out)).toBe(false);
});

test('convert replaces neither weights nor configuration if one of the two cannot be written', () => {
  const out = join(folder, 'blocked');
  mkdirSync(join(out, 'config.json'), { recursive: true });
  writeFileSync(join(out, 'model.safetensors'), 'what was there');
  expect(run('convert', tiny, '--dtype', 'fp16', '--out', out, '--force')).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/config\.json is a folder/) as string,
  });
  expect(readFileSync(join(out, 'model.safetensors'), 'utf8')).toBe('what was there');
  expect(readdirSync(out).sort()).toEqual(['config.json', 'model.safetensors']);
});

test.each([
  [
    'pytorch_model.bin',
    1,
    /found pytorch_model\.bin, .*python -c ".*torch\.load\('pytorch_model\.bin'.*save_file/,
  ],
  ['dinov2_vits14_pretrain.pth', 1, /torch\.load\('dinov2_vits14_pretrain\.pth'/],
  ['model.onnx', 1, /found model\.onnx, which is not read here: ONNX has lost/],
  ['readme.txt', 2, /found neither\./],
])('convert of a folder with only %s says what to do', (name, status, message) => {
  const own = mkdtempSync(join(folder, 'other-'));
  writeFileSync(join(own, name), 'PK');
  expect(run('convert', own, '--dtype', 'fp16', '--out', join(own, 'out'))).toMatchObject({
    status,
    stderr: expect.stringMatching(message) as string,
  });
  expect(readdirSync(own)).toEqual([name]);
});

test('inspect of a checkpoint in several files', () => {
  const several = join(folder, 'several');
  mkdirSync(several);
  for (const [name, bytes] of shardsOf(3)) writeFileSync(join(several, name), bytes);
  expect(run('inspect', several)).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/of which header \d{4}; 43 tensors/) as string,
  });
});

test('synthetic', () => {
  const out = join(folder, 'small');
  expect(run('synthetic', 'small', out, '--registers').status).toBe(0);
  expect(parseSafetensors(readFileSync(join(out, 'model.safetensors'))).fileBytes).toBeGreaterThan(88e6);
});

test.each(['model.safetensors', 'config.json'])(
  'convert and synthetic overwrite a %s only with --force',
  (name) => {
    const out = join(folder, `there ${name}`);
    mkdirSync(out);
    writeFileSync(join(out, name), 'what was there');
    for (const args of [
      ['convert', tiny, '--dtype', 'fp16', '--out', out],
      ['synthetic', 'small', out],
    ]) {
      expect(run(...args)).toMatchObject({
        status: 2,
        stderr: expect.stringMatching(/ exists already\. .* --force/) as string,
      });
      expect(readdirSync(out)).toEqual([name]);
      expect(readFileSync(join(out, name), 'utf8')).toBe('what was there');
    }
    expect(run('convert', tiny, '--dtype', 'fp16', '--out', out, '--force').status).toBe(0);
    expect(parseSafetensors(readFileSync(join(out, 'model.safetensors'))).tensors.size).toBe(43);
    expect(readFileSync(join(out, 'config.json'), 'utf8')).toBe(
      readFileSync(join(tiny, 'config.json'), 'utf8'),
    );
  },
);

test('convert into the folder of its input uses the config.json there', () => {
  const out = join(folder, 'beside');
  mkdirSync(out);
  cpSync(join(tiny, 'config.json'), join(out, 'config.json'));
  cpSync(join(tiny, 'model.safetensors'), join(out, 'original.safetensors'));
  expect(run('convert', join(out, 'original.safetensors'), '--dtype', 'fp16', '--out', out).status).toBe(0);
  expect(readdirSync(out).sort()).toEqual(['config.json', 'model.safetensors', 'original.safetensors']);
});

test.each(['SIGINT', 'SIGTERM'] as const)(
  '%s during a write leaves the old file and nothing else',
  async (signal) => {
    const out = join(folder, signal);
    mkdirSync(out);
    writeFileSync(join(out, 'model.safetensors'), 'what was there');
    const child = spawn(
      process.execPath,
      [join(folder, 'bin/dinov2-webgpu.mjs'), 'synthetic', 'giant', out, '--force'],
      { stdio: 'ignore' },
    );
    const ended = once(child, 'exit');
    // 4.5 GB when complete
    const begun = (): boolean =>
      readdirSync(out).some((name) => name.endsWith('.part') && statSync(join(out, name)).size > 0);
    while (child.exitCode === null && !begun()) await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill(signal);
    expect(await ended).toEqual([null, signal]);
    expect(readdirSync(out)).toEqual(['model.safetensors']);
    expect(readFileSync(join(out, 'model.safetensors'), 'utf8')).toBe('what was there');
  },
);

test('embed overwrites its output files only with --force', () => {
  writeFileSync(join(folder, 'x.png'), '');
  for (const there of ['two.npy.txt', 'three.safetensors']) {
    writeFileSync(join(folder, there), 'what was there');
    const args = ['embed', 'x.png', '--out', there.replace('.txt', '')];
    expect(run(...args)).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/^embed: .* exists already.*--force/) as string,
    });
    expect(run(...args, '--force')).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^embed: .* npm install dinov2-webgpu webgpu sharp\n$/) as string,
    }); // the next check
    expect(readFileSync(join(folder, there), 'utf8')).toBe('what was there');
  }
});

test('embed never overwrites its input', () => {
  const image = join(folder, 'image.png');
  const own = join(folder, 'embedded');
  cpSync(tiny, own, { recursive: true });
  writeFileSync(image, '');
  symlinkSync(image, join(folder, 'image.npy'));
  for (const [out, model] of [
    [join(folder, 'image.npy'), 'a/b'],
    [join(own, 'model.safetensors'), own],
    [join(own, 'model.safetensors'), `${own}/`],
  ] as const) {
    expect(run('embed', image, '--out', out, '--model', model)).toMatchObject({
      status: 2,
      stderr: expect.stringMatching(/embed: --out would overwrite an input/) as string,
    });
  }
});
