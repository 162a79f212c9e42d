/** `npm run bench NAME`: one bench, a table for people, and as its last line one JSON object. */
import { benchEngine } from './engine.ts';

const BENCHES: Record<string, (options: { repeats: number }) => Promise<Record<string, number>>> = {
  engine: benchEngine,
};
const REPEATS = 7;

const [name = ''] = process.argv.slice(2);
const bench = BENCHES[name];
if (bench === undefined) {
  process.stderr.write(`There is no bench '${name}'. There are: ${Object.keys(BENCHES).join(', ')}.\n`);
  process.exit(2);
}
const ratios = await bench({ repeats: Number(process.env['COUNTDOWN_BENCH_REPEATS'] ?? REPEATS) });
process.stdout.write(`${JSON.stringify({ bench: name, ratios })}\n`);
process.exit(0);
