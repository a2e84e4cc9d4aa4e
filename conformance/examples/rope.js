// A complete target for `ropecore conformance --command`: RoPE in JavaScript, float32 and float64, for every plan of rope.md.
//
//     ropecore conformance --command "node conformance/examples/rope.js"
//
// To test code of your own, keep everything but `cosSin` and `rotate`. With FLIP_SIGN in the environment it is wrong, to see
// how that looks.
"use strict";

const SIGN = process.env.FLIP_SIGN ? -1 : 1;
const TWO_PI = 2 * Math.PI;
const STARTED = {
  protocol: "ropecore-command/1",
  name: "rope.js",
  version: "1",
  language: "JavaScript",
  capabilities: {
    dtypes: ["float32", "float64"],
    angle: "exact",
    table: "float32",
    compute: "float32",
    not_applicable: { refusals: "this example trusts its caller" },
  },
};

// ---- RoPE

const INVERSE_TWO_PI = 0x28be60db9391054a7f09d5f47d4d377036d8a5664f10e4107f9458eaf7aef158n; // floor(2^256 / (2 pi))

// F / (2 pi) * 2^128: turns for each unit of position, as 128 bits behind the point, from F = m * 2^e.
function turns(F) {
  let m = F;
  let e = 0;
  for (; !Number.isInteger(m); e--) m *= 2; // exact
  const shift = BigInt(128 - e); // e <= 0
  return (BigInt(m) * INVERSE_TWO_PI) >> shift;
}

// cos and sin of the angle of a row at a position, one number an axis. Whole turns fall off by `asUintN`, so that the sine sees
// no argument beyond an eighth of a turn.
function cosSin(F, position, kinds) {
  let phase = 0n;
  F.forEach((f, a) => {
    if (kinds[a] === "real") {
      const t = Number(position[a]) * (f / TWO_PI);
      phase += BigInt(Math.round((t - Math.round(t)) * 2 ** 100)) << 28n;
    } else {
      phase += BigInt.asIntN(32, BigInt(position[a])) * turns(f); // wraps
    }
  });
  phase = BigInt.asUintN(128, phase);
  const quarter = (phase + (1n << 125n)) >> 126n;
  const angle = Number(phase - (quarter << 126n)) * 2 ** -126 * (Math.PI / 2);
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  const [cos, sin] = [[c, s], [-s, c], [-c, -s], [s, -c]][Number(quarter) % 4];
  return [cos, SIGN * sin];
}

// for one vector; the transpose and the inverse are. y holds x already.
function rotate(plan, { mode, role, dtype }, position, x, y) {
  const round = dtype === "float32" ? Math.fround : (v) => v;
  const forward = mode === "forward";
  const [read, write] = forward ? [plan.lanes, plan.out_lanes] : [plan.out_lanes, plan.lanes];
  plan.frequencies.forEach((F, j) => {
    const [cos, sin] = cosSin(F, position, plan.axis_kinds);
    let scale = plan.attention_factor;
    if (plan.log_magnitude) {
      scale *= Math.exp((role === "q" ? 1 : -1) * plan.log_magnitude[j] * (Number(position[0]) - plan.centre));
    }
    if (mode === "inverse") scale = 1 / scale;
    const [c, s] = [round(scale * cos), round(scale * (forward ? sin : -sin))];
    const [x0, x1] = [x[read[j][0]], x[read[j][1]]];
    y[write[j][0]] = round(round(x0 * c) - round(x1 * s));
    y[write[j][1]] = round(round(x0 * s) + round(x1 * c));
  });
}

// ---- one question: which position has each vector of the tensor, and its rotation

// The position of a token, one number an axis: as given, or offset + token.
function positionOf({ plan, positions, offset }, batch, token, tokens) {
  if (positions === null) return [(Array.isArray(offset) ? offset[batch] : (offset ?? 0)) + token];
  const rows = positions.data.length / (plan.axes.length * tokens);
  return plan.axes.map((_, a) => positions.data[(a * rows + (rows > 1 ? batch : 0)) * tokens + token]);
}

function run(question) {
  const { plan, x, tensor_format: letters } = question;
  const round = question.dtype === "float32" ? Math.fround : (v) => v;
  const input = x.data.map(Number).map(round); // Number reads "NaN" and "Infinity" too
  const y = input.slice();
  const sizes = x.shape.slice(0, -1);
  const tokens = sizes[letters.search(/[st]/)];
  const count = sizes.reduce((product, size) => product * size, 1);
  for (let v = 0; v < count; v++) {
    const at = { b: 0 };
    for (let i = sizes.length - 1, rest = v; i >= 0; rest = Math.floor(rest / sizes[i--])) at[letters[i]] = rest % sizes[i];
    const position = positionOf(question, at.b, at.s ?? at.t, tokens);
    const vector = y.slice(v * plan.head_dim, (v + 1) * plan.head_dim);
    rotate(plan, question, position, vector.slice(), vector);
    vector.forEach((value, i) => (y[v * plan.head_dim + i] = value));
  }
  // JSON.stringify would write null for NaN, and lose the sign of zero
  return `{"id": ${question.id}, "y": {"shape": ${JSON.stringify(x.shape)}, "data": [${y.map(number)}]}}`;
}

function number(value) {
  if (!Number.isFinite(value)) return `"${value}"`;
  return Object.is(value, -0) ? "-0.0" : String(value);
}

const answers = {
  start: () => JSON.stringify(STARTED),
  run,
  stop: () => process.exit(0),
};

require("node:readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    const message = JSON.parse(line);
    process.stdout.write(answers[message.command](message) + "\n");
  });
