/** `verify`: compares a model's numbers with Python's. */
import { UsageError } from '../arguments.mjs';
import { library } from '../built.mjs';
import { checkPackages, modelAt } from '../model.mjs';
import { EXIT } from '../table.mjs';
import { byteBar, message } from '../terminal.mjs';
import {
  allHold,
  codeOf,
  compare,
  CouldNotRun,
  PUBLISHED,
  readExpected,
  readImage,
  tableOf,
  worstOf,
} from '../verification.mjs';

export async function run({ positionals, options: { expected: file, image: path } }) {
  const ids = positionals.length > 0 ? positionals : Object.keys(PUBLISHED);
  const places = await Promise.all(ids.map((id) => modelAt('verify', id)));
  let expected;
  let image;
  try {
    expected = await readExpected(file, positionals);
    checkGpu(path);
    image = await readImage(path);
  } catch (error) {
    if (!(error instanceof CouldNotRun)) throw error;
    const text = `verify: ${error.message}. Nothing was compared.`;
    if (error.isUsage) throw new UsageError(text);
    message(text);
    process.exitCode = codeOf(error);
    return;
  }
  const codes = [];
  for (const [i, id] of ids.entries())
    codes.push(await one(id, { wanted: expected[id], image, model: places[i] }));
  process.exitCode = worstOf(codes);
}

/** Throws if a package is missing, without which nothing can be compared. */
function checkGpu(image) {
  try {
    checkPackages('verify', image === undefined ? [] : [image]);
  } catch (error) {
    throw new CouldNotRun(error.message.replace(/^verify: /, ''));
  }
}

/** Compares one model. Prints a table, and returns an exit code. */
async function one(id, { wanted, image, model }) {
  try {
    const options = { model, onProgress: byteBar(id) };
    const { adapter, source, rows } = await compare(await library(), id, wanted, image, options);
    console.log(`${id}, on ${adapter}\n  against ${source}\n${tableOf(rows).join('\n')}`);
    const holds = allHold(rows);
    console.log(`${id}: ${holds ? 'holds' : 'DIFFERS'}\n`);
    return holds ? EXIT.done : EXIT.failed;
  } catch (error) {
    const could = !(error instanceof CouldNotRun);
    message(`${id}: ${could ? 'failed' : 'could not be compared'}: ${error.message}`);
    return could ? EXIT.failed : codeOf(error);
  }
}
