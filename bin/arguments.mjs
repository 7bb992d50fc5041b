/** Parses and checks arguments, and writes help texts, from the table of commands. */
import { parseArgs } from 'node:util';
import { COMMANDS, EXIT } from './table.mjs';

const NAME = 'npx dinov2-webgpu';

/** A mistake in the arguments, found before anything is loaded. */
export class UsageError extends Error {}

/**
 * Parses the arguments of the process.
 * @returns `help` (a text to print), `version: true`, or the command with its positional arguments and options.
 *   `given` has the names of the options that were given
 * @throws UsageError
 */
export function parse(argv) {
  const [name] = argv;
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    const about = name === 'help' ? argv[1] : undefined;
    if (name === undefined) throw new UsageError(`expected a command: ${Object.keys(COMMANDS).join(', ')}.`);
    return { help: about === undefined ? overview() : helpOf(known(about)) };
  }
  if (name === '--version' || name === '-v') return { version: true };
  known(name);
  const rest = argv.slice(1);
  const end = rest.indexOf('--');
  const options = end < 0 ? rest : rest.slice(0, end);
  if (options.includes('--help') || options.includes('-h')) return { help: helpOf(name) };
  if (options.includes('--version')) return { version: true };
  const { values, positionals } = parsed(name, rest);
  return { name, ...checked(name, values, positionals) };
}

function known(name) {
  if (Object.hasOwn(COMMANDS, name)) return name;
  const first = name.startsWith('-') ? ' Options come after the command.' : '';
  throw new UsageError(`expected a command (${Object.keys(COMMANDS).join(', ')}), found ${name}.${first}`);
}

function parsed(name, args) {
  const { options } = COMMANDS[name];
  const specification = Object.entries(options).map(([option, { flag, short }]) => [
    option,
    { type: flag ? 'boolean' : 'string', ...(short && { short }) },
  ]);
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      allowNegative: true,
      options: Object.fromEntries(specification),
    });
  } catch (error) {
    if (!error?.code?.startsWith?.('ERR_PARSE_ARGS')) throw error;
    const unknown = /^Unknown option '(-[^']+)'/.exec(error.message)?.[1];
    throw new UsageError(
      unknown
        ? `${name}: there is no option ${unknown}. Its options are ${Object.keys(options)
            .map((option) => `--${option}`)
            .join(
              ', ',
            )}.${unknown.startsWith('--') ? '' : ' Write ./ before the name of a file that begins with a dash.'}`
        : `${name}: ${error.message.split('\n')[0]}.`.replace(/\.\.$/, '.'),
    );
  }
}

function checked(name, values, positionals) {
  const { least, most = Infinity, options, arguments: expected } = COMMANDS[name];
  const names = expected.map(([argument]) => argument).filter(Boolean);
  if (positionals.length < least || positionals.length > most)
    throw new UsageError(
      `${name}: expected ${names.join(' and ')}, found ${positionals.length === 0 ? 'nothing' : positionals.join(' ')}.`,
    );
  if (positionals.includes(''))
    throw new UsageError(`${name}: expected ${names.join(' and ')}, found an empty text.`);
  const result = {};
  const specifications = Object.entries(options);
  for (const [option, { default: usual }] of specifications)
    result[option] =
      values[option] === undefined ? usual : valueOf(name, option, options[option], values[option]);
  for (const [option, { required, value, help }] of specifications)
    if (required && result[option] === undefined)
      throw new UsageError(`${name}: expected --${option} ${value}: ${help}.`);
  return { positionals, options: result, given: new Set(Object.keys(values)) };
}

function valueOf(name, option, { among, whole, value }, found) {
  if (found === '' && option !== 'prefix')
    throw new UsageError(`${name}: expected --${option} ${value}, found an empty text.`);
  if (among && !among.includes(found))
    throw new UsageError(`${name}: expected --${option} to be ${listed(among)}, found ${found}.`);
  if (!whole) return found;
  const [least, most] = whole;
  const number = /^\d{1,9}$/.test(found) ? Number(found) : NaN;
  if (number >= least && number <= most) return number;
  throw new UsageError(
    `${name}: expected --${option} to be a whole number from ${least} to ${most}, found ${found}.`,
  );
}

const listed = (words) => `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;

function overview() {
  const rows = Object.entries(COMMANDS).map(([name, { brief }]) => `  ${name.padEnd(12)} ${brief}`);
  return `Usage: ${NAME} COMMAND …

${rows.join('\n')}

${NAME} COMMAND --help   explains a command
${NAME} --version        prints the version

Exit codes: ${EXIT.done} done; ${EXIT.failed} failed; ${EXIT.usage} wrong arguments, nothing was loaded or written;
${EXIT.incomplete} incomplete: some images could not be used, or some numbers could not be compared.`;
}

const WIDTH = 110;
const COLUMN = 22;

function helpOf(name) {
  const { summary, usage, gpu, options, arguments: positional, examples } = COMMANDS[name];
  const rows = positional.map(([argument, text]) => row(argument, text));
  for (const [option, { flag, value, short, help, among, default: usual, required }] of Object.entries(
    options,
  )) {
    const left = `${short ? `-${short}, ` : ''}--${flag && usual ? 'no-' : ''}${option}${flag ? '' : ` ${value}`}`;
    const values = among && !help.includes(among[0]) ? `: ${listed(among)}` : '';
    const tail = required ? ' (required)' : usual === undefined || flag ? '' : ` (default ${usual})`;
    rows.push(row(left, help + values + tail));
  }
  rows.push(row('-h, --help', 'print this text'), row('--version', 'print the version'));
  return [
    `Usage: ${NAME} ${name} ${usage} [options]`,
    '',
    summary,
    ...(gpu ? ['Needs the package webgpu.'] : []),
    '',
    ...rows,
    '',
    ...examples.map((example) => `Example: ${NAME} ${name} ${example}`),
  ].join('\n');
}

/** One entry of a help text: the name on the left, the wrapped text on the right. */
function row(left, text) {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1);
    if (line !== '' && COLUMN + line.length + word.length >= WIDTH) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  const [first, ...others] = lines;
  return [
    `  ${left.padEnd(COLUMN - 2)} ${first}`,
    ...others.map((line) => ' '.repeat(COLUMN + 1) + line),
  ].join('\n');
}

export const seeHelp = (argv) =>
  `See ${NAME} ${Object.hasOwn(COMMANDS, argv[0] ?? '') ? `${argv[0]} ` : ''}--help.`;
