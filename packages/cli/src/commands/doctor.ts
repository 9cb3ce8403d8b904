import os from 'node:os';
import { backendPackage, LftError, OPTIONAL_BACKENDS } from '@lft/core';
import * as tf from '@tensorflow/tfjs-core';
import { BACKENDS, type BackendFacts, packageFolders, startBackend } from '../backends.js';
import { findPlugin, knownPlugins, type PluginKind } from '../plugins/find-plugin.js';
import { bytesText } from '../terminal/numbers.js';
import type { Output } from '../terminal/output.js';
import { facts, table } from '../terminal/tables.js';
import type { DefineCommand } from './command.js';

const EXAMPLES = `
Examples:
  lft doctor
  lft doctor --json
`;

/** What package.json asks for. */
const OLDEST_NODE = [20, 19] as const;

interface Finding {
  readonly name: string;
  readonly works: boolean;
  readonly state: string;
  /** What to do about it. */
  readonly remedy: string;
}

export const define: DefineCommand = (command, { output, exit }) => {
  command
    .option('--json', 'one JSON object on stdout')
    .addHelpText('after', EXAMPLES)
    .action(async () => exit(await diagnose(output)));
};

async function diagnose(output: Output): Promise<number> {
  const node = checkNode();
  const backends: Finding[] = [];
  for (const backend of BACKENDS) backends.push(await checkBackend(backend));
  const plugins = [...(await checkPlugins('adapter')), ...(await checkPlugins('selector'))];
  const usable = backends.filter(({ works }) => works).map(({ name }) => name);

  output.event({
    node: { version: process.versions.node, ok: node.works },
    cores: os.availableParallelism(),
    memory: { total: os.totalmem(), free: os.freemem() },
    backends,
    plugins,
  });
  output.line(
    facts(
      [
        ['node', node.works ? `${process.versions.node}, fine` : `${node.state}: ${node.remedy}`],
        ['machine', `${os.platform()} ${os.arch()}, ${os.cpus()[0]?.model.trim() || 'unknown processor'}`],
        ['cores', String(os.availableParallelism())],
        ['memory', `${bytesText(os.totalmem())}, ${bytesText(os.freemem())} free`],
      ],
      output,
    ),
  );
  output.line();
  output.line(findings('backend', backends, output));
  output.line();
  output.line(findings('plugin', plugins, output));
  output.line();
  if (usable.length > 0) output.line(`  Ready to train on ${usable.join(' and ')}.`);
  else output.line('  No backend works, so nothing can be trained here: see the remedies above.');
  return usable.length > 0 ? 0 : 1;
}

function findings(title: string, list: readonly Finding[], output: Output): string {
  const { color } = output;
  return table(
    [{ title: '' }, { title }, { title: 'state' }, { title: 'remedy' }],
    list.map(({ name, works, state, remedy }) => [works ? color.green('✓') : color.yellow('–'), name, state, remedy]),
    output,
  );
}

function checkNode(): Finding {
  const [major, minor] = process.versions.node.split('.').map(Number) as [number, number];
  const works = major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1]);
  return {
    name: 'node',
    works,
    state: process.versions.node,
    remedy: works ? '' : `install Node ${OLDEST_NODE.join('.')} or newer`,
  };
}

async function checkBackend({ name, about }: BackendFacts): Promise<Finding> {
  try {
    await startBackend(name);
    const started = performance.now();
    const wrong = await wrongResult();
    if (wrong) return { name, works: false, state: `computes wrongly: ${wrong}`, remedy: 'use another backend' };
    const took = Math.ceil(performance.now() - started);
    return { name, works: true, state: `works (${took} ms)`, remedy: (await describeBackend(name)) ?? about };
  } catch (error) {
    const { state: why, remedy: what } = (LftError.is(error) ? error.facts : {}) as Partial<Finding>;
    if (why && what) return { name, works: false, state: why, remedy: what };
    const message = LftError.is(error)
      ? error.message.replace(/^backend "[^"]*":? /, '')
      : String((error as Error).message ?? error);
    const first = message.split('\n')[0]!;
    const remedy = `reinstall ${OPTIONAL_BACKENDS[name]?.package ?? 'lft'}`;
    return { name, works: false, state: first.length > 60 ? `${first.slice(0, 59)}…` : first, remedy };
  }
}

/** What the backend's package says of itself on this machine. */
async function describeBackend(name: string): Promise<string | undefined> {
  const describe = OPTIONAL_BACKENDS[name]?.describe;
  if (!describe) return undefined;
  const found = await backendPackage(name, packageFolders());
  return (found?.[describe] as (() => string) | undefined)?.();
}

/** A product and its gradient, whose values are known. */
async function wrongResult(): Promise<string | undefined> {
  const { value, grad } = tf.tidy(() => {
    const x = tf.tensor2d([1, 2, 3, 4], [2, 2]);
    return tf.valueAndGrad((w) => tf.sum(tf.matMul(x, w as tf.Tensor2D)))(tf.tensor2d([1, 0, 0, 1], [2, 2]));
  });
  const [sum] = await value.data();
  const gradient = Array.from(await grad.data());
  tf.dispose([value, grad]);
  if (sum !== 10) return `a sum is ${sum}, not 10`;
  if (gradient.join() !== '4,4,6,6') return `a gradient is ${gradient.join()}, not 4,4,6,6`;
  return undefined;
}

async function checkPlugins(kind: PluginKind): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const name of knownPlugins(kind)) {
    try {
      const { from } = await findPlugin(kind, name);
      found.push({ name: `${kind} ${name}`, works: true, state: from, remedy: '' });
    } catch (error) {
      found.push({
        name: `${kind} ${name}`,
        works: false,
        state: 'cannot be loaded',
        remedy: (error as Error).message,
      });
    }
  }
  return found;
}
