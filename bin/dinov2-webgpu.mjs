#!/usr/bin/env node
// The command line: converts, inspects and generates checkpoints, and embeds images. Only `embed` needs a
// GPU.
import { rmSync } from 'node:fs';
import { lstat, mkdir, open, readdir, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, extname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { readImage } from './images.mjs';
import { UsageError, usageOf } from './usage.mjs';

const tools = await import('../dist/tools.js').catch((cause) => {
  if (cause?.code === 'ERR_MODULE_NOT_FOUND')
    throw new Error('dist/ is missing: run `npm run build` first.', { cause });
  throw cause;
});

const partOf = (path) => `${path}.part`;

const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * Writes a file under a temporary name, and renames the file when it is complete. So an interrupt (Ctrl-C)
 * leaves no partial file.
 */
async function writing(path, write) {
  await mkdir(dirname(path), { recursive: true });
  const part = partOf(path);
  let file;
  const ended = (signal) => {
    rmSync(part, { force: true });
    process.kill(process.pid, signal); // ends the process, because `once` has removed this listener
  };
  for (const signal of ENDING) process.once(signal, ended); // registered before the file exists
  try {
    file = await open(part, 'w');
    await write(file);
    await file.close();
    await rename(part, path);
  } catch (error) {
    await file?.close();
    if (file) await rm(part, { force: true });
    throw error;
  } finally {
    for (const signal of ENDING) process.off(signal, ended);
  }
}

const writeText = (path, text) => writing(path, (file) => writeAll(file, Buffer.from(text), 0));

async function writeAll(file, bytes, position) {
  for (let done = 0; done < bytes.length;)
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
}

/** Shows progress on stderr, if stderr is a terminal. */
function progressBar(label) {
  let last = 0;
  return (done, total) => {
    if (!process.stderr.isTTY || (done < total && performance.now() - last < 100)) return;
    last = performance.now();
    const part = total > 0 ? done / total : 0;
    process.stderr.write(
      `\r${label} ${'█'.repeat(Math.round(part * 30)).padEnd(30, '░')} ${(part * 100).toFixed(0).padStart(3)} %${done >= total ? '\n' : ''}`,
    );
  };
}

/**
 * Opens a checkpoint. `path` is the path of a safetensors file, or of a folder with one or several
 * safetensors files.
 */
async function openIn(path, onProgress) {
  const folder = (await stat(path)).isDirectory();
  if (!folder) return tools.openCheckpoint([{ name: path, source: path }], { onProgress });
  const names = await readdir(path);
  if (names.includes('model.safetensors'))
    return tools.openCheckpoint([{ name: 'model.safetensors', source: join(path, 'model.safetensors') }], {
      onProgress,
    });
  if (!names.includes('model.safetensors.index.json')) {
    const expected = `${path}: expected model.safetensors or model.safetensors.index.json in it, found`;
    const other = tools.otherFormat(names);
    throw other ? new Error(`${expected} ${other}`) : new UsageError(`${expected} neither.`);
  }
  const index = tools.parseShardIndex(await readFile(join(path, 'model.safetensors.index.json')));
  return tools.openCheckpoint(
    index.files.map((name) => ({ name, source: join(path, name) })),
    { index, onProgress },
  );
}

/** Reads a text file from the checkpoint's folder; undefined if the file is missing. */
async function textBeside(path, name) {
  const folder = (await stat(path)).isDirectory() ? path : dirname(path);
  return readFile(join(folder, name), 'utf8').catch((error) => {
    if (error.code !== 'ENOENT') throw error; // an unreadable file must not be taken for a missing one
    return undefined;
  });
}

/** Parses the text of a config.json; returns an empty description if there is none. */
function describe(text) {
  if (text === undefined) return {};
  let json;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new Error(`config.json: expected JSON, found ${JSON.stringify(text.slice(0, 40))}.`, { cause });
  }
  return tools.describedBy(json);
}

/** Throws if an output file would overwrite an input file, also if one path is a link to the other file. */
async function checkApart(command, inputs, outputs) {
  // A file that does not exist has no real path, and cannot be an input.
  const real = (paths) => Promise.all(paths.map((path) => realpath(path).catch(() => undefined)));
  const taken = await real(inputs);
  const same = (await real(outputs)).findIndex((path) => path !== undefined && taken.includes(path));
  if (same >= 0)
    throw new UsageError(
      `${command}: --out would overwrite an input: ${outputs[same]}. Choose another path.`,
    );
}

/** Throws if an output file exists, unless --force is given. */
async function checkFree(command, outputs, force) {
  for (const path of force ? [] : outputs) {
    const there = await lstat(path).catch((error) => {
      if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
      return undefined;
    });
    if (there)
      throw new UsageError(
        `${command}: ${path} exists already. Choose another path, or overwrite it with --force.`,
      );
  }
}

async function convert([input, ...rest], { dtype, out, prefix, force }) {
  if (!input || rest.length > 0 || !['fp16', 'int8'].includes(dtype) || !out)
    throw new UsageError('convert: expected one checkpoint, --dtype fp16 or int8, and --out FOLDER.');
  const path = join(out, 'model.safetensors');
  await checkApart('convert', [input, join(input, 'model.safetensors')], [out, path, partOf(path)]);
  await checkFree('convert', [path], force);
  const original = await textBeside(input, 'config.json');
  const described = describe(original);
  const preprocessor = tools.convertedPreprocessor(
    await textBeside(input, 'preprocessor_config.json'),
    original,
  );
  const bar = progressBar('convert');
  const stream = await openIn(input, ({ loadedBytes, totalBytes }) =>
    bar(loadedBytes, totalBytes ?? Infinity),
  );
  const { config, tensors } = tools.settleAny(stream.header, described, { prefix });
  const labels = await tools.labelsOf(stream, config, tensors.prefix, described);
  const configText = tools.convertedConfig(config, original, labels);
  const texts = [[join(out, 'config.json'), configText]];
  if (preprocessor !== undefined) texts.push([join(out, 'preprocessor_config.json'), preprocessor]);
  const changed = [];
  for (const [to, text] of texts)
    if ((await readFile(to, 'utf8').catch(() => undefined)) !== text) changed.push([to, text]);
  const outputs = changed.map(([to]) => to);
  await checkFree('convert', outputs, force);
  let converted;
  await writing(path, async (file) => {
    const write = (position, bytes) => writeAll(file, bytes, position);
    converted = await tools.convertCheckpoint(stream, dtype, write, { described, prefix });
    await file.sync();
    const written = await tools.openCheckpoint([{ name: path, source: resolve(partOf(path)) }]);
    await written.cancel();
    tools.settleAny(written.header, describe(configText)); // throws if the new file could not be loaded
    for (const [to, text] of changed) await writeText(to, text);
  });
  const { header, setAside, assumed } = converted;
  for (const sentence of assumed) console.error(`assumed: ${sentence}`);
  if (setAside.length > 0)
    console.error(
      `left out (not part of the model): ${setAside.slice(0, 8).join(', ')}${setAside.length > 8 ? ` and ${setAside.length - 8} more` : ''}`,
    );
  console.log(
    `${path}: ${header.tensors.size} tensors, ${header.fileBytes} bytes (original: ${stream.header.fileBytes})`,
  );
}

async function inspect([path, ...rest], { prefix }) {
  if (!path || rest.length > 0) throw new UsageError('inspect: expected one file.');
  const stream = await openIn(path);
  await stream.cancel();
  let described = {};
  try {
    described = describe(await textBeside(path, 'config.json'));
  } catch (error) {
    console.error(`config.json cannot be used: ${error.message}`);
  }
  console.log(tools.describeCheckpoint(stream.header, described, prefix));
}

async function synthetic([size, folder, ...rest], { registers, seed = '0', force }) {
  if (
    !['small', 'base', 'large', 'giant'].includes(size) ||
    !folder ||
    rest.length > 0 ||
    !/^\d{1,9}$/.test(seed)
  )
    throw new UsageError(
      'synthetic: expected small, base, large or giant, a folder, and a whole number as --seed.',
    );
  const path = join(folder, 'model.safetensors');
  const configPath = join(folder, 'config.json');
  await checkFree('synthetic', [path, configPath], force);
  const config = tools.configOf(size, { registers: registers ?? false });
  const bar = progressBar('synthetic');
  const { header, pieces } = tools.syntheticStream(tools.huggingFaceTensors(tools.parameters(config)), {
    seed: Number(seed),
    onProgress: ({ loadedBytes, totalBytes }) => bar(loadedBytes, totalBytes),
  });
  await writing(path, async (file) => {
    await writeAll(file, tools.encodeSafetensorsHeader(header.tensors, header.metadata).bytes, 0);
    for await (const { info, offset, bytes } of pieces) await writeAll(file, bytes, info.begin + offset);
    await writeText(configPath, `${JSON.stringify(tools.configJson(config), undefined, 2)}\n`);
  });
  console.log(`${path}: ${header.tensors.size} tensors, ${header.fileBytes} bytes`);
}

async function openGpu() {
  const webgpu = await import('webgpu').catch((cause) => {
    throw new Error(
      'embed: the package webgpu is missing, which gives Node access to the GPU. Install it: npm install webgpu',
      { cause },
    );
  });
  const gpu = webgpu.create([]);
  Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
  return gpu; // keep this object: WebGPU stops working when it is garbage-collected
}

async function embed(
  images,
  {
    out,
    model: id = 'facebook/dinov2-small',
    dtype = 'fp32',
    pooling = 'cls',
    normalize = true,
    batch = '8',
    force,
  },
) {
  const format = extname(out ?? '');
  if (images.length === 0 || !['.npy', '.safetensors'].includes(format))
    throw new UsageError('embed: expected images, and --out FILE.npy or FILE.safetensors.');
  const among = (name, value, values) => {
    if (!values.includes(value))
      throw new UsageError(`embed: expected --${name} to be ${values.join(', ')}, found ${value}.`);
  };
  among('dtype', dtype, ['fp32', 'fp16', 'int8', 'auto']);
  among('pooling', pooling, ['cls', 'mean', 'cls+mean', 'gem']);
  if (!/^[1-9]\d{0,3}$/.test(batch))
    throw new UsageError(`embed: expected --batch to be a whole number from 1, found ${batch}.`);
  const namesPath = `${out}.txt`; // one image name for each line, because a .npy file cannot hold names
  const broken = images.find((path) => format === '.npy' && /[\r\n]/.test(path));
  if (broken !== undefined)
    throw new UsageError(
      `embed: expected image names without line breaks, found ${JSON.stringify(broken)}. Use --out FILE.safetensors.`,
    );
  const outputs = format === '.npy' ? [out, namesPath] : [out];
  await checkApart(
    'embed',
    [...images, id, join(id, 'model.safetensors'), join(id, 'config.json')],
    outputs.flatMap((path) => [path, partOf(path)]),
  );
  await checkFree('embed', outputs, force);
  const gpu = await openGpu();
  const { DINOv2 } = await import('../dist/index.js');
  // As in Python, an existing folder takes precedence over an id on the hub.
  const here = (await stat(id).catch(() => undefined))?.isDirectory();
  const loading = progressBar('model ');
  const model = await DINOv2.fromPretrained(here ? resolve(id) : id, {
    dtype,
    onProgress: ({ loadedBytes, totalBytes }) => loading(loadedBytes, totalBytes ?? Infinity),
  });
  const bar = progressBar('images');
  const vectors = [];
  const failed = [];
  const readable = [];
  async function* sources() {
    for (const path of images) {
      const image = await readImage(path).catch(
        (error) =>
          void failed.push(error.message.startsWith(path) ? error.message : `${path}: ${error.message}`),
      );
      if (image === undefined) continue;
      readable.push(path);
      yield image;
    }
  }
  for await (const { index, embedding, error } of model.embedAll(sources(), {
    pooling,
    normalize,
    batchSize: Number(batch),
  })) {
    if (error) failed.push(`${readable[index]}: ${error.message}`);
    else vectors.push([readable[index], embedding]);
    bar(vectors.length + failed.length, images.length);
  }
  model.dispose();
  for (const line of failed) console.error(line);
  if (vectors.length === 0) throw new Error('embed: no image could be used.');
  const columns = vectors[0][1].length;
  const all = new Float32Array(vectors.length * columns);
  vectors.forEach(([, vector], i) => all.set(vector, i * columns));
  const names = vectors.map(([name]) => name);
  const bytes =
    format === '.npy'
      ? tools.encodeNpy(all, names.length, columns)
      : tools.encodeSafetensors(
          [['embeddings', { dtype: 'F32', shape: [names.length, columns], data: all }]],
          [
            ['names', JSON.stringify(names)],
            ['model', id],
            ['pooling', pooling],
          ],
        );
  await writing(out, async (file) => {
    await writeAll(file, bytes, 0);
    if (format === '.npy') await writeText(namesPath, `${names.join('\n')}\n`);
  });
  console.log(
    `${out}: ${names.length} × ${columns}${failed.length > 0 ? `, ${failed.length} images could not be used` : ''}`,
  );
  if (failed.length > 0) process.exitCode = 1;
  return gpu;
}

const commands = { convert, inspect, synthetic, embed };
const command = process.argv.slice(2).find((argument) => !argument.startsWith('-'));
try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    allowNegative: true,
    options: {
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean' },
      out: { type: 'string', short: 'o' },
      dtype: { type: 'string' },
      registers: { type: 'boolean' },
      seed: { type: 'string' },
      model: { type: 'string' },
      pooling: { type: 'string' },
      prefix: { type: 'string' },
      normalize: { type: 'boolean' },
      batch: { type: 'string' },
      force: { type: 'boolean' },
    },
  });
  const [name, ...rest] = positionals;
  if (values.help) console.log(usageOf(name));
  else if (values.version)
    console.log(JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')).version);
  else if (!Object.hasOwn(commands, name ?? ''))
    throw new UsageError(
      `expected one of the commands ${Object.keys(commands).join(', ')}, found ${name ?? 'none'}.`,
    );
  else await commands[name](rest, values);
} catch (error) {
  if (error instanceof UsageError || error?.code?.startsWith?.('ERR_PARSE_ARGS')) {
    console.error(`${usageOf(command)}\n\n${error.message}`);
    process.exitCode = 2;
  } else {
    const message = error?.message ?? String(error);
    console.error(error?.code && !message.startsWith(error.code) ? `${error.code}: ${message}` : message);
    process.exitCode = 1;
  }
}
