import { spawn } from 'node:child_process';
import { cpSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { nativeProblem } from '@lft/backend-native';
import { command } from './command.js';
import { repository, temporaryFolder } from './repository.js';

const LFT = path.join(repository, 'packages/cli/bin/lft.mjs');

/** Runs `lft train`, and does something as soon as a checkpoint is saved. */
function train(args: readonly string[], atCheckpoint: () => void): Promise<{ code: number | null; stderr: string }> {
  const child = spawn(process.execPath, [LFT, 'train', ...args, '--json'], { cwd: repository });
  let stderr = '';
  child.stderr.on('data', (text) => {
    stderr += text;
  });
  child.stdout.on('data', (text) => {
    if (String(text).includes('"kind":"checkpoint"')) atCheckpoint();
  });
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, stderr })));
}

const contents = (folder: string) =>
  Object.fromEntries(
    readdirSync(folder).map((name) => [name, readFileSync(path.join(folder, name)).toString('base64')]),
  );

const problem = nativeProblem();
(problem ? test.skip : test)(
  'a model that is cut off during a run ends it with a line that says so, and the run goes on from its checkpoint once the model is whole',
  async () => {
    const folder = temporaryFolder();
    const model = path.join(folder, 'model');
    const weights = path.join(model, 'model.safetensors');
    const whole = () => cpSync(path.join(repository, 'models/stories260K'), model, { recursive: true });
    whole();
    const text = path.join(folder, 'text.txt');
    writeFileSync(text, readFileSync(path.join(repository, 'data/tinyshakespeare.txt'), 'utf8').slice(0, 6000));
    const out = path.join(folder, 'run');
    const args = ['--backend', 'native', '--model', model, '--data', text, '--out', out];
    const flags = ['--batch-size', '2', '--max-length', '32', '--evaluation-examples', '4', '--checkpoint-every', '10'];
    let saved: object | undefined;
    const { code, stderr } = await train([...args, ...flags, '--steps', '200'], () => {
      if (saved) return;
      truncateSync(weights, 4096);
      saved = contents(path.join(out, 'checkpoints/step-000010'));
    });
    expect(code).toBe(74);
    expect(stderr).toContain(`${weights}: was cut off or overwritten while the model was in use`);
    expect(contents(path.join(out, 'checkpoints/step-000010'))).toEqual(saved);

    whole();
    const resumed = command(process.execPath, [LFT, 'train', '--resume', '--out', out], repository);
    expect(resumed.output).toMatch(/goes on at\s+step \d+/);
    expect(resumed.code).toBe(0);
  },
);
