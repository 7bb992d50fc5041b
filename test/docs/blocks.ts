/**
 * The code blocks of README.md, docs/README.md and docs/guide, and what makes them runnable. Blocks of one page
 * run in their order and share their variables, as a reader understands them. Two invisible comments before a
 * block:
 *
 * - `<!-- not run: reason -->`: the block cannot run here
 * - `<!-- before: code -->`: JavaScript that defines what the text around the block describes
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../..', import.meta.url));

export interface Block {
  /** Path in the repository, and the line of the block's first line of code. */
  readonly page: string;
  readonly line: number;
  readonly language: string;
  readonly text: string;
  /** Code of `<!-- before: … -->`, or ''. */
  readonly before: string;
  /** The reason of `<!-- not run: … -->`. */
  readonly notRun: string | undefined;
}

export const pages: readonly string[] = [
  'README.md',
  'docs/README.md',
  ...readdirSync(join(root, 'docs/guide')).map((name) => `docs/guide/${name}`),
];

export function blocksOf(page: string): Block[] {
  const text = readFileSync(join(root, page), 'utf8');
  const found = text.matchAll(/((?:^<!--(?:(?!-->)[\s\S])*-->\n+)*)^( *)```(\w*)\n([\s\S]*?)^\2```$/gm);
  return [...found].map((match) => {
    const [, comments = '', indent = '', language = '', code = ''] = match;
    const comment = (kind: string): string | undefined =>
      new RegExp(`<!-- ${kind}:((?:(?!-->)[\\s\\S])*)-->`).exec(comments)?.[1]?.trim();
    return {
      page,
      line: text.slice(0, match.index + comments.length).split('\n').length + 1,
      language,
      text: code.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
      before: comment('before') ?? '',
      notRun: comment('not run'),
    };
  });
}

const NODE = /from '(node:|webgpu'|dinov2-webgpu\/node'|@electric-sql)/;

/** Where a block runs. */
export function placeOf({
  language,
  text,
}: Block): 'browser' | 'node' | 'page' | 'shell' | 'python' | 'text' {
  if (language === 'html') return 'page';
  if (language === 'js' || language === 'ts') return NODE.test(text) ? 'node' : 'browser';
  if (language === 'sh') return 'shell';
  return language === 'python' ? 'python' : 'text';
}

/** The names that a pattern such as `{ a, b: [c] }` declares. */
function namesOf(pattern: ts.BindingName): string[] {
  if (ts.isIdentifier(pattern)) return [pattern.text];
  return pattern.elements.flatMap((each) => (ts.isOmittedExpression(each) ? [] : namesOf(each.name)));
}

/** Turns an import into an assignment of its names. */
function importOf(statement: ts.ImportDeclaration): { names: string[]; text: string } {
  const module = (statement.moduleSpecifier as ts.StringLiteral).text;
  const { name, namedBindings } = statement.importClause ?? {};
  const load = `await load(${JSON.stringify(module)})`;
  if (namedBindings && ts.isNamespaceImport(namedBindings))
    return { names: [namedBindings.name.text], text: `${namedBindings.name.text} = ${load};` };
  const elements = (namedBindings?.elements ?? [])
    .filter((each) => !each.isTypeOnly)
    .map((each) => ({ from: (each.propertyName ?? each.name).text, to: each.name.text }));
  if (name) elements.push({ from: 'default', to: name.text });
  return {
    names: elements.map(({ to }) => to),
    text: `({ ${elements.map(({ from, to }) => `${from}: ${to}`).join(', ')} } = ${load});`,
  };
}

/**
 * The code of a function `block`, to be declared within `with (scope)`: imports and declarations at the top level
 * become assignments, so that the next block has the variables. `load` imports a module.
 */
export function assignments(text: string): { names: string[]; code: string } {
  const source = ts.createSourceFile('block.ts', text, ts.ScriptTarget.ESNext, true);
  const names: string[] = [];
  const lines = source.statements.map((statement) => {
    if (ts.isImportDeclaration(statement)) {
      const found = importOf(statement);
      names.push(...found.names);
      return found.text;
    }
    if (ts.isVariableStatement(statement)) {
      const { declarations } = statement.declarationList;
      names.push(...declarations.flatMap(({ name }) => namesOf(name)));
      return declarations
        .map(({ name, initializer }) =>
          initializer ? `(${name.getText(source)} = ${initializer.getText(source)});` : '',
        )
        .join(' ');
    }
    if (ts.isFunctionDeclaration(statement)) {
      names.push(statement.name!.text);
      return `${statement.name!.text} = ${statement.getText(source)};`;
    }
    return statement.getText(source);
  });
  const { outputText, diagnostics } = ts.transpileModule(`async function block() {\n${lines.join('\n')}\n}`, {
    reportDiagnostics: true,
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  const [problem] = diagnostics ?? [];
  if (problem) throw new SyntaxError(ts.flattenDiagnosticMessageText(problem.messageText, '\n'));
  return { names, code: outputText.replace(/^export \{\};$/m, '') };
}
