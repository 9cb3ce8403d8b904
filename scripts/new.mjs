/**
 * `npm run new -- selector NAME` or `npm run new -- adapter NAME` [--dir packages|examples]: a package that builds, passes the
 * conformance kit and trains, to be changed from there.
 */
import { cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { install } from './install.mjs';
import { run } from './run.mjs';
import { packageParents, root, workspacePackages } from './workspace.mjs';

const USAGE = `usage: npm run new -- selector NAME [--dir packages|examples]
       npm run new -- adapter NAME [--dir packages|examples]`;

/** Names that core, the templates or JavaScript itself use already; the templates' type names are looked up in them. */
const TAKEN = new Set(
  'full fixed adamw adapter selector options leaf context sites tf z test expect await break case catch class const continue debugger default delete do else enum export extends false finally for function if implements import in instanceof interface let new null package private protected public return static super switch this throw true try typeof var void while with yield'.split(
    ' ',
  ),
);

/** `gradient-norm`: `GradientNorm`. */
const pascal = (name) =>
  name
    .split('-')
    .map((word) => word[0].toUpperCase() + word.slice(1))
    .join('');

const templateOf = (kind) => path.join(root, 'scripts', 'templates', kind);

function readArguments() {
  let parsed;
  try {
    parsed = parseArgs({
      args: process.argv.slice(2),
      allowPositionals: true,
      options: { dir: { type: 'string', default: 'packages' } },
    });
  } catch (error) {
    throw new Error(`${error.message}\n${USAGE}`);
  }
  const [kind, name, ...rest] = parsed.positionals;
  if (!kind || !name || rest.length > 0) throw new Error(`Say what to make, and its name.\n${USAGE}`);
  if (kind !== 'selector' && kind !== 'adapter') {
    throw new Error(`"${kind}" cannot be made: there is a template for a selector and one for an adapter.\n${USAGE}`);
  }
  if (!packageParents.includes(parsed.values.dir)) {
    throw new Error(`--dir ${parsed.values.dir}: packages live in ${packageParents.join(' or ')}.\n${USAGE}`);
  }
  checkName(kind, name);
  return { kind, name, dir: parsed.values.dir };
}

function checkName(kind, name) {
  if (!/^[a-z][a-z0-9]*(-[a-z0-9]+)*$/.test(name) || name.length > 40) {
    throw new Error(
      `"${name}" is no name for a package: use lower-case letters, digits and single hyphens, a letter first, such as "gradient-norm".`,
    );
  }
  const source = readFileSync(path.join(templateOf(kind), 'src', '__name__.ts'), 'utf8');
  if (TAKEN.has(name) || new RegExp(`\\b${pascal(name)}\\b`).test(source))
    throw new Error(`"${name}" is taken: choose another name.`);
  const namesake = workspacePackages().find(({ folder }) => path.basename(folder) === name);
  const folder = namesake?.folder ?? packageParents.map((dir) => path.join(root, dir, name)).find(existsSync);
  if (folder) throw new Error(`${path.relative(root, folder)} exists: choose another name, or remove it first.`);
}

/** Writes the template's files with the package's names in place of the marks. */
function scaffold({ kind, name, dir }) {
  const folder = path.join(root, dir, name);
  const marks = {
    __package__: dir === 'examples' ? `lft-${kind}-${name}` : `@lft/${name}`,
    __name__: name,
    __camel__: name[0] + pascal(name).slice(1),
    __Pascal__: pascal(name),
  };
  const filled = (text) =>
    Object.entries(marks).reduce((result, [mark, value]) => result.replaceAll(mark, value), text);

  cpSync(templateOf(kind), folder, { recursive: true });
  for (const entry of readdirSync(folder, { recursive: true })) {
    const file = path.join(folder, String(entry));
    if (!statSync(file).isFile()) continue;
    writeFileSync(file, filled(readFileSync(file, 'utf8')));
    const name = filled(path.basename(file));
    if (name !== path.basename(file)) renameSync(file, path.join(path.dirname(file), name));
  }
  if (dir === 'examples') {
    const file = path.join(folder, 'package.json');
    writeFileSync(file, readFileSync(file, 'utf8').replace('"version"', '"private": true,\n  "version"'));
  }
  return { folder, packageName: marks.__package__ };
}

try {
  const wanted = readArguments();
  const { folder, packageName } = scaffold(wanted);
  try {
    await install({ lockfile: 'update' });
  } catch (error) {
    rmSync(folder, { recursive: true });
    throw error;
  }
  const formatted = await run(path.join(root, 'node_modules', '.bin', 'biome'), ['check', '--write', folder], {
    output: 'keep',
  });
  if (formatted.code !== 0) console.error(formatted.output.trim());
  const where = path.relative(root, folder);
  console.log(`
Made ${where} (${packageName}).

Next:
  node scripts/turbo.mjs run build test --filter=${packageName}    build it and run the conformance kit
  ${path.join(where, 'src', `${wanted.name}.ts`)}    write the ${wanted.kind} here
  ${path.join(where, 'README.md')}    say what it does; the program in it trains a small model${
    wanted.dir === 'packages' ? '\n  npx changeset    when it is to be released' : ''
  }`);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
