#!/usr/bin/env node
// The command line: checkpoints converted, looked at, made by formula; vectors of images. Only `embed` needs
// a GPU, and the package `webgpu`.
import { rmSync } from 'node:fs';
import { lstat, mkdir, open, readdir, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname, extname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const USAGE = `npx dinov2-webgpu convert IN --dtype fp16|int8 --out FOLDER [--prefix P]
    a checkpoint in a narrower element type, with Hugging Face's names; IN is a file or a folder, with config.json or without
    --prefix: what stands before the names of the model's tensors, where a file has several models (teacher.backbone)
npx dinov2-webgpu inspect FILE|FOLDER [--prefix P]             what a safetensors file is
npx dinov2-webgpu synthetic SIZE FOLDER [--registers] [--seed N]   weights by formula: small, base, large, giant
npx dinov2-webgpu embed IMAGES… --out FILE.npy|FILE.safetensors
    [--model ID|FOLDER] [--dtype fp32|fp16|int8|auto] [--pooling cls|mean|cls+mean|gem] [--no-normalize] [--batch 8]
    PNG, GIF and BMP; JPEG, WebP and 8-bit TIFF with the package sharp. Images lie as in their files: Exif's
    orientation is ignored, as Pillow ignores it
What is there is written over with --force alone.`;

class Usage extends Error {}

const tools = await import('../dist/tools.js').catch((cause) => {
  if (cause?.code === 'ERR_MODULE_NOT_FOUND')
    throw new Error('dist/ is missing: run `npm run build` first.', { cause });
  throw cause;
});

const partOf = (path) => `${path}.part`;

const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * Writes a file under another name, and gives it its own when it is whole. Whoever ends the process, by
 * Ctrl-C say, finds nothing of it.
 */
async function writing(path, write) {
  await mkdir(dirname(path), { recursive: true });
  const part = partOf(path);
  let file;
  const ended = (signal) => {
    rmSync(part, { force: true });
    process.kill(process.pid, signal); // which nobody listens to any more
  };
  for (const signal of ENDING) process.once(signal, ended); // before there is something to leave behind
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

/** A small file that belongs to another: written when that is whole, and before it has its name. */
const writeText = (path, text) => writing(path, (file) => writeAll(file, Buffer.from(text), 0));

async function writeAll(file, bytes, position) {
  for (let done = 0; done < bytes.length;)
    done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
}

/** Progress on one line of a terminal, on stderr; nothing where that is a file. */
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

/** The tensors of a file, or of a folder with one file or several. */
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
    throw other ? new Error(`${expected} ${other}`) : new Usage(`${expected} neither.`);
  }
  const index = tools.parseShardIndex(await readFile(join(path, 'model.safetensors.index.json')));
  return tools.openCheckpoint(
    index.files.map((name) => ({ name, source: join(path, name) })),
    { index, onProgress },
  );
}

/** The text of a file that belongs to a checkpoint; undefined where there is none. */
async function textBeside(path, name) {
  const folder = (await stat(path)).isDirectory() ? path : dirname(path);
  return readFile(join(folder, name), 'utf8').catch((error) => {
    if (error.code !== 'ENOENT') throw error; // one that is there and cannot be read is not to be guessed
    return undefined;
  });
}

/** What a config.json says; nothing where there is none. */
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

/** What is read is not to be written over, by whatever names and links the two are called. */
async function checkApart(command, inputs, outputs) {
  const real = (paths) => Promise.all(paths.map((path) => realpath(path).catch(() => undefined))); // missing: then it is no other's name
  const taken = await real(inputs);
  const same = (await real(outputs)).findIndex((path) => path !== undefined && taken.includes(path));
  if (same >= 0)
    throw new Usage(
      `${command}: expected --out to be another place than what is read, found ${outputs[same]}, which would be written over. Give a place of its own.`,
    );
}

/** What is there already, and was not made to be lost. */
async function checkFree(command, outputs, force) {
  for (const path of force ? [] : outputs) {
    const there = await lstat(path).catch((error) => {
      if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') throw error;
      return undefined;
    });
    if (there)
      throw new Usage(
        `${command}: expected no ${path} yet, found one, which would be written over. Give another place, or --force.`,
      );
  }
}

async function convert([input, ...rest], { dtype, out, prefix, force }) {
  if (!input || rest.length > 0 || !['fp16', 'int8'].includes(dtype) || !out)
    throw new Usage('convert: expected one checkpoint, --dtype fp16 or int8, and --out FOLDER.');
  const path = join(out, 'model.safetensors');
  await checkApart('convert', [input, join(input, 'model.safetensors')], [out, path, partOf(path)]);
  await checkFree('convert', [path], force);
  const original = await textBeside(input, 'config.json');
  const described = describe(original);
  // It says what images are for this model.
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
    tools.settleAny(written.header, describe(configText)); // what has been written loads
    for (const [to, text] of changed) await writeText(to, text);
  });
  const { header, setAside, assumed } = converted;
  for (const sentence of assumed) console.error(`assumed: ${sentence}`);
  if (setAside.length > 0)
    console.error(
      `left out, because they are no part of the model: ${setAside.slice(0, 8).join(', ')}${setAside.length > 8 ? ` and ${setAside.length - 8} more` : ''}`,
    );
  console.log(
    `${path}: ${header.tensors.size} tensors, ${header.fileBytes} bytes, where there were ${stream.header.fileBytes}`,
  );
}

async function inspect([path, ...rest], { prefix }) {
  if (!path || rest.length > 0) throw new Usage('inspect: expected one file.');
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
    throw new Usage(
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
      'embed: expected the package webgpu, which brings a GPU to Node, found none. Install it beside this one: npm install webgpu',
      { cause },
    );
  });
  const gpu = webgpu.create([]);
  Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
  return gpu; // to be held on to: Dawn ends with it
}

/** JPEG, WebP and TIFF, by their first bytes: what `sharp` decodes to the bits that Pillow has. */
const isForSharp = (bytes) =>
  /^(\xff\xd8\xff|RIFF[^]{4}WEBP|II\*\0|MM\0\*)/.test(bytes.toString('latin1', 0, 12));
const isTiff = (bytes) => bytes[0] === bytes[1] && bytes[0] !== 0xff;

/**
 * JPEG, WebP and TIFF with `sharp`, where it is installed; all else goes to the library, which reads PNG, GIF and
 * BMP and says what other files are. As Pillow's `Image.open(file).convert('RGB')`: no colour profile is applied, and
 * of Exif's orientation that of a TIFF alone.
 */
async function readImage(path) {
  const bytes = await readFile(path);
  if (!isForSharp(bytes)) return new File([bytes], path);
  const { default: sharp } = await import('sharp').catch((cause) => {
    throw new Error(
      `${path}: expected a PNG, a GIF or a BMP, found another format. Install the package sharp to read it, or convert it to PNG.`,
      { cause },
    );
  });
  const image = sharp(bytes, { ignoreIcc: true });
  const { space, depth } = await image.metadata();
  if (space === 'cmyk')
    throw new Error(
      `${path}: expected an image in RGB or grey, found CMYK, which has no agreed numbers in RGB. Convert it to RGB.`,
    );
  if (depth !== 'uchar' || (space !== 'srgb' && space !== 'b-w'))
    throw new Error(
      `${path}: expected 8 bits a channel in RGB or grey, found ${depth} in ${space}, which Python reads in another way. Convert it to an 8-bit PNG.`,
    );
  const { data, info } = await (isTiff(bytes) ? image.autoOrient() : image)
    .removeAlpha()
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true });
  const rgba = new Uint8ClampedArray(info.width * info.height * 4).fill(255);
  for (let i = 0, from = 0; i < rgba.length; i += 4, from += info.channels)
    rgba.set(
      [data[from], data[from + (info.channels > 1 ? 1 : 0)], data[from + (info.channels > 2 ? 2 : 0)]],
      i,
    );
  return { data: rgba, width: info.width, height: info.height };
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
    throw new Usage('embed: expected images, and --out FILE.npy or FILE.safetensors.');
  const among = (name, value, values) => {
    if (!values.includes(value))
      throw new Usage(`embed: expected --${name} to be ${values.join(', ')}, found ${value}.`);
  };
  among('dtype', dtype, ['fp32', 'fp16', 'int8', 'auto']);
  among('pooling', pooling, ['cls', 'mean', 'cls+mean', 'gem']);
  if (!/^[1-9]\d{0,3}$/.test(batch))
    throw new Usage(`embed: expected --batch to be a whole number from 1, found ${batch}.`);
  const namesPath = `${out}.txt`; // a .npy has no room for names: each has a line there
  const broken = images.find((path) => format === '.npy' && /[\r\n]/.test(path));
  if (broken !== undefined)
    throw new Usage(
      `embed: expected names of one line each, found ${JSON.stringify(broken)}. Write a .safetensors file.`,
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
  const here = (await stat(id).catch(() => undefined))?.isDirectory(); // as in Python, a folder goes before an id of the hub, which it may look like
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
try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    allowNegative: true,
    options: {
      help: { type: 'boolean', short: 'h' },
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
  if (values.help) console.log(USAGE);
  else if (!Object.hasOwn(commands, name ?? ''))
    throw new Usage(`expected ${Object.keys(commands).join(', ')}, found ${name ?? 'nothing'}.`);
  else await commands[name](rest, values);
} catch (error) {
  if (error instanceof Usage || error?.code?.startsWith?.('ERR_PARSE_ARGS')) {
    console.error(`${error.message}\n\n${USAGE}`);
    process.exitCode = 2;
  } else {
    const message = error?.message ?? String(error);
    console.error(error?.code && !message.startsWith(error.code) ? `${error.code}: ${message}` : message);
    process.exitCode = 1;
  }
}
