"use strict";
(() => {
	// What a node sent, or a file name, never becomes markup: all text is set as
	// textContent, and the page's policy forbids every other way.

	const services = ["gui", "gsql", "restpp"];
	const serviceNames = { gui: "GUI", gsql: "GSQL", restpp: "RESTPP", all: "the whole node" };
	const serviceUse = {
		gui: "GraphStudio, Admin Portal, Insights",
		gsql: "the GSQL server",
		restpp: "queries and data",
	};
	const verdictWords = { up: "up", down: "down", unknown: "unknown", off: "not checked" };
	const wide = 60; // points of a line
	const mostEntries = 200; // of the history
	const denseFrom = 13; // nodes

	const byId = (id) => document.getElementById(id);

	const make = (tag, attributes, ...children) => {
		const element = document.createElement(tag);
		for (const name in attributes) element.setAttribute(name, attributes[name]);
		element.append(...children);
		return element;
	};
	const makeSVG = (tag, attributes, ...children) => {
		const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
		for (const name in attributes) element.setAttribute(name, attributes[name]);
		element.append(...children);
		return element;
	};
	const shape = (name) => makeSVG("svg", { class: "shape", "aria-hidden": "true", viewBox: "0 0 16 16" }, makeSVG("use", { href: "#shape-" + name }));

	// Nothing is touched that already is as it should be: the page may be open for
	// days, with a hundred nodes.
	const say = (element, text) => {
		if (element.textContent !== text) element.textContent = text;
	};
	const set = (element, name, value) => {
		if (element.getAttribute(name) !== value) element.setAttribute(name, value);
	};

	// ---- time

	let clockAhead = 0; // of the edge's clock
	const now = () => Date.now() + clockAhead;

	const duration = (milliseconds) => {
		const seconds = Math.max(0, Math.floor(milliseconds / 1000));
		if (seconds < 60) return seconds + " s";
		const minutes = Math.floor(seconds / 60);
		if (minutes < 60) return minutes + " min";
		const hours = Math.floor(minutes / 60);
		if (hours < 24) return hours + " h" + (hours < 10 && minutes % 60 ? " " + (minutes % 60) + " min" : "");
		const days = Math.floor(hours / 24);
		return days + " d" + (days < 10 && hours % 24 ? " " + (hours % 24) + " h" : "");
	};
	const timeOnly = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
	const dayOnly = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
	const clock = (time) => {
		const date = new Date(time);
		const today = new Date(now()).toDateString() === date.toDateString();
		return (today ? "" : dayOnly.format(date) + ", ") + timeOnly.format(date);
	};

	const percent = (share) => {
		const value = share * 100;
		if (value > 0 && value < 0.95) return value.toFixed(1) + " %";
		return Math.round(value) + " %";
	};
	const milliseconds = (value) => (value < 9.95 ? value.toFixed(1) : Math.round(value)) + " ms";
	const plural = (count, one, many) => count + " " + (count === 1 ? one : many);

	// ---- state

	let state = null; // the snapshot, kept up to date
	let rows = []; // by the node's place in the snapshot
	let heard = 0; // when the edge was last heard of, by our clock

	const adopt = (snapshot) => {
		const names = (s) => JSON.stringify([s.nodes.map((node) => [node.address, node.cluster]), s.clusters]);
		const same = state && names(state) === names(snapshot);
		state = snapshot;
		clockAhead = new Date(state.time) - Date.now();
		if (!same) build();
		state.nodes.forEach((_, i) => renderNode(i, true));
		renderWhole();
		renderHistory();
	};

	const apply = (update) => {
		state.time = update.time;
		clockAhead = new Date(state.time) - Date.now();
		const changed = new Set();
		let points = false;
		if (update.services) state.services = update.services;
		for (const i in update.traffic) {
			for (const name in update.traffic[i]) state.nodes[i].services[name].traffic = update.traffic[i][name];
			changed.add(Number(i));
		}
		for (const i in update.nodes) {
			const change = update.nodes[i];
			const node = state.nodes[i];
			for (const name in change.services) Object.assign(node.services[name], change.services[name]);
			Object.assign(node, change, { services: node.services });
			changed.add(Number(i));
		}
		if (update.requests) {
			update.requests.forEach((count, i) => {
				if (state.nodes[i].requests === count) return;
				state.nodes[i].requests = count;
				changed.add(i);
			});
		}
		if (update.points) {
			points = true;
			state.latency_step = update.latency_step;
			update.points.forEach((ofNode, i) => {
				for (const name in ofNode) append(state.nodes[i].services[name], ofNode[name]);
				changed.add(i);
			});
		}
		if (update.clusters) {
			state.clusters = update.clusters;
			build();
			state.nodes.forEach((_, i) => renderNode(i, true));
		}
		for (const i of changed) renderNode(i, points);
		renderWhole();
		if (update.history) {
			state.history = update.history.concat(state.history).slice(0, 10 * mostEntries);
			renderHistory();
			announce(update.history);
		}
	};

	const append = (service, more) => {
		const old = service.probes || { slowest_ms: [] };
		const count = more.slowest_ms.length;
		const blank = (list, length) => list || new Array(length).fill(0);
		const failed = blank(old.failed, old.slowest_ms.length).concat(blank(more.failed, count)).slice(-wide);
		service.probes = { slowest_ms: old.slowest_ms.concat(more.slowest_ms).slice(-wide), failed };
		const last = more.slowest_ms[count - 1];
		if (last !== null) service.latency_ms = last;
	};

	// ---- nodes

	// Lines are drawn of the nodes that are in sight, or nearly.
	const sight = new IntersectionObserver((entries) => {
		for (const entry of entries) {
			const i = rows.findIndex((row) => row.group === entry.target);
			if (i < 0) continue;
			rows[i].inSight = entry.isIntersecting;
			if (entry.isIntersecting && rows[i].outdated) drawAll(i);
		}
	}, { rootMargin: "400px" });

	const build = () => {
		rows = state.nodes.map((node) => {
			const row = make("tr", { role: "row" });
			const reasons = make("td", { role: "cell", colspan: "5" });
			const why = make("tr", { role: "row", class: "why", hidden: "" }, reasons);
			const group = make("tbody", { role: "rowgroup" }, row, why);
			const badges = make("div", { class: "badges" });
			row.append(make("th", { role: "rowheader", scope: "row" }, node.address, badges));
			const cells = {};
			for (const name of services) {
				const cell = {
					td: make("td", { role: "cell", class: "service", "data-label": serviceNames[name] }),
					use: makeSVG("use", {}),
					word: make("span", { class: "word" }),
					since: make("span", { class: "since" }),
					ms: make("span", { class: "milliseconds" }),
					path: makeSVG("path", {}),
					failed: makeSVG("path", { class: "failed" }),
					bar: makeSVG("rect", { height: "4" }),
					share: make("span", {}),
					traffic: make("span", { class: "traffic", hidden: "" }),
				};
				cell.spark = makeSVG("svg", { class: "spark", role: "img", viewBox: "0 0 120 22", preserveAspectRatio: "none" }, cell.failed, cell.path);
				cell.verdict = make("span", { class: "verdict" }, makeSVG("svg", { class: "shape", "aria-hidden": "true", viewBox: "0 0 16 16" }, cell.use), cell.word);
				cell.latency = make("span", { class: "latency" }, cell.spark, cell.ms);
				cell.td.append(make("div", {}, cell.verdict, cell.latency, cell.since,
					make("span", { class: "share" },
						makeSVG("svg", { class: "bar", "aria-hidden": "true", viewBox: "0 0 120 4", preserveAspectRatio: "none" }, cell.bar),
						make("span", { class: "text" }, cell.share, make("span", { class: "unseen" }, " of the new clients"))),
					cell.traffic));
				row.append(cell.td);
				cells[name] = cell;
			}
			const requests = make("td", { role: "cell", class: "number", "data-label": "Requests in flight" });
			row.append(requests);
			return { group, why, reasons, badges, cells, requests, address: node.address };
		});
		byId("table").classList.toggle("dense", rows.length >= denseFrom);
		rows.forEach((row, i) => {
			row.cluster = state.nodes[i].cluster || "";
		});
		const natural = (a, b) => a.address.localeCompare(b.address, undefined, { numeric: true });
		const clusters = state.clusters || [];
		const groups = clusters.flatMap((cluster) => {
			const own = rows.filter((row) => row.cluster === cluster.name);
			return [clusterHead(cluster, own), ...own.sort(natural).map((row) => row.group)];
		});
		const others = rows.filter((row) => !clusters.some((cluster) => cluster.name === row.cluster));
		byId("table").replaceChildren(byId("head"), ...groups, ...others.sort(natural).map((row) => row.group));
		sight.disconnect();
		for (const row of rows) sight.observe(row.group);
	};

	// clusterHead is the line above a cluster's nodes, where there are several clusters.
	const clusterHead = (cluster, own) => {
		let text = cluster.active ? "active" : "standby: gets no requests";
		if (cluster.draining_until && new Date(cluster.draining_until) > now()) text = "sessions stay until " + clock(cluster.draining_until);
		else if (cluster.active && cluster.since) text += " since " + clock(cluster.since);
		const head = make("tbody", { role: "rowgroup", class: "cluster" }, make("tr", { role: "row" },
			make("th", { role: "rowheader", scope: "rowgroup", colspan: "5" }, cluster.name, " ", make("span", { class: "sub" }, text))));
		for (const row of own) row.head = head;
		return head;
	};

	const badge = (is, text) => {
		const element = make("span", { class: "badge" });
		if (is) {
			element.dataset.is = is;
			element.append(shape(is));
		}
		element.append(text);
		return element;
	};

	const drainText = (node) => {
		if (node.drained_by === "configuration") return node.weight === 0 ? "no new clients: weight 0" : "draining, by the configuration";
		if (!node.drain_until) return "draining, until said to be ready";
		return "draining, " + duration(new Date(node.drain_until) - now()) + " left";
	};

	const inTrouble = (node) => node.draining || node.fails > 0 || services.some((name) => {
		const service = node.services[name];
		return service.verdict === "down" || service.verdict === "unknown" || service.evidence?.count_5m > 0;
	});

	const renderBadges = (i) => {
		const node = state.nodes[i];
		const row = rows[i];
		const wanted = [];
		if (node.draining) wanted.push(["draining", drainText(node)]);
		if (node.role === "backup") wanted.push(["", "backup, on standby"]);
		if (node.role === "standby" && !(state.clusters && state.clusters.length > 1)) wanted.push(["", "standby"]);
		if (node.weight !== 1 && node.weight !== 0) wanted.push(["", "weight " + node.weight]);
		if (node.fails > 0) wanted.push(["down", plural(node.fails, "request failed lately", "requests failed lately")]);
		const key = JSON.stringify(wanted);
		if (row.badgeKey === key) return;
		row.badgeKey = key;
		row.badges.replaceChildren(...wanted.map(([is, text]) => badge(is, text)));
	};

	const renderSince = (i) => {
		const dense = rows.length >= denseFrom;
		for (const name of services) {
			const service = state.nodes[i].services[name];
			let text = service.since ? duration(now() - new Date(service.since)) : "";
			// Where there is much to see, hours will do, and nothing moves every second.
			if (dense) text = text.endsWith(" s") ? "< 1 min" : text.split(" ").slice(0, 2).join(" ");
			say(rows[i].cells[name].since, text);
		}
	};

	// reasonOf says why a service is down or not known, or what requests met, "" if all
	// is well.
	const reasonOf = (service) => {
		if (service.verdict === "down" || service.advice) return service.last_error || "no reason is known";
		const { count_5m: count, last } = service.evidence || {};
		return count > 0 ? plural(count, "request failed", "requests failed") + " in the last five minutes, the last one so: " + last : "";
	};

	// renderReasons says why services are down: once, where the reason is the same.
	const renderReasons = (i) => {
		const node = state.nodes[i];
		const row = rows[i];
		const reasons = new Map();
		for (const name of services) {
			const service = node.services[name];
			const text = reasonOf(service);
			if (!text) continue;
			const known = reasons.get(text) || { names: [], advice: service.advice };
			known.names.push(serviceNames[name]);
			reasons.set(text, known);
		}
		const key = JSON.stringify([...reasons]);
		if (row.reasonKey === key) return;
		row.reasonKey = key;
		row.why.hidden = reasons.size === 0;
		row.reasons.replaceChildren(...[...reasons].map(([text, { names, advice }]) => {
			const line = make("p", {}, make("strong", {}, names.join(", ")), " ", make("span", { class: "error" }, text));
			if (advice) line.append(make("span", { class: "advice" }, advice));
			return line;
		}));
	};

	const renderNode = (i, points) => {
		const node = state.nodes[i];
		const row = rows[i];
		say(row.requests, String(node.requests));
		renderBadges(i);
		renderSince(i);
		renderReasons(i);
		for (const name of services) {
			const service = node.services[name];
			const cell = row.cells[name];
			set(cell.verdict, "data-is", service.verdict);
			set(cell.use, "href", "#shape-" + service.verdict);
			say(cell.word, verdictWords[service.verdict] || service.verdict);
			cell.td.classList.toggle("down", service.verdict === "down");
			set(cell.since, "title", service.since ? service.verdict + " since " + clock(service.since) : "");
			say(cell.share, percent(service.share_of_new_clients));
			set(cell.bar, "width", (120 * service.share_of_new_clients).toFixed(1));
			cell.latency.hidden = !service.probes;
			renderTraffic(cell, service.traffic);
		}
		if (points) row.outdated = true;
		if (row.inSight && row.outdated) drawAll(i);
	};

	// One request in three minutes is not none.
	const rate = (value) => (value > 0 && value < .05 ? "< 0.1" : value > 0 && value < 9.95 ? value.toFixed(1) : Math.round(value)) + "/s";

	const renderTraffic = (cell, traffic) => {
		cell.traffic.hidden = !traffic;
		if (!traffic) return;
		const parts = [rate(traffic.per_second)];
		if (traffic.errors_per_second > 0) parts.push(rate(traffic.errors_per_second) + " errors");
		if (traffic.p95_ms !== undefined && traffic.p95_ms !== null) parts.push("95 % in " + milliseconds(traffic.p95_ms));
		say(cell.traffic, parts.join(" · "));
		cell.traffic.classList.toggle("failing", traffic.errors_per_second > 0);
	};

	const drawAll = (i) => {
		rows[i].outdated = false;
		for (const name of services) {
			const service = state.nodes[i].services[name];
			if (service.probes) draw(rows[i].cells[name], service);
		}
	};

	// draw draws the line of a service's probes. What takes less than 10 ms stays
	// near the bottom, so that a quiet node looks quiet.
	const draw = (cell, service) => {
		const { slowest_ms: slowest, failed } = service.probes;
		const offset = wide - slowest.length;
		const most = Math.max(10, ...slowest);
		let line = "";
		let marks = "";
		let broken = true;
		slowest.forEach((value, i) => {
			const x = ((offset + i + 0.5) * 120) / wide;
			if (failed && failed[i]) {
				marks += `M${x.toFixed(1)} 2V20`;
				if (value === null) broken = true;
			}
			if (value === null) return;
			line += `${broken ? "M" : "L"}${x.toFixed(1)} ${(20 - (18 * value) / most).toFixed(1)}${broken ? "h.1" : ""}`;
			broken = false;
		});
		set(cell.path, "d", line);
		set(cell.failed, "d", marks);
		const down = service.verdict === "down";
		const last = slowest.length ? slowest[slowest.length - 1] : null;
		const value = last !== null ? last : service.latency_ms;
		say(cell.ms, down || service.verdict === "unknown" ? "" : milliseconds(value));
		const passed = slowest.filter((one) => one !== null);
		const failures = (failed || []).reduce((sum, count) => sum + count, 0);
		set(cell.spark, "aria-label", "Probes of the last five minutes: " +
			(passed.length ? "at most " + milliseconds(Math.max(...passed)) : "none passed") +
			(failures ? ", " + failures + " failed" : ""));
	};

	const filter = () => {
		if (!state) return;
		const words = byId("find").value.trim().toLowerCase();
		const only = byId("trouble").checked;
		let shown = 0;
		state.nodes.forEach((node, i) => {
			const wanted = node.address.toLowerCase().includes(words) && (!only || inTrouble(node));
			if (rows[i].group.hidden === wanted) rows[i].group.hidden = !wanted;
			if (wanted) shown++;
		});
		for (const head of document.querySelectorAll("#table .cluster")) {
			head.hidden = !rows.some((row) => row.head === head && !row.group.hidden);
		}
		filterHistory(words);
		const all = state.nodes.length;
		say(byId("shown"), all === shown ? plural(all, "node", "nodes") : `${shown} of ${plural(all, "node", "nodes")}`);
		const empty = byId("empty");
		byId("table").hidden = shown === 0;
		empty.hidden = shown > 0;
		say(empty, all === 0 ? "This edge has no nodes: no site of its configuration balances by the policy tigergraph."
			: only && !words ? "No node has trouble." : "No node matches.");
	};

	// ---- the whole

	const renderFacts = () => {
		const wanted = [
			"running for " + duration(now() - new Date(state.started)),
			"plugin " + state.version,
			"Caddy " + state.caddy_version.split(" ")[0],
		];
		const facts = byId("facts");
		if (facts.children.length !== wanted.length) facts.replaceChildren(...wanted.map(() => make("span", {})));
		wanted.forEach((text, i) => say(facts.children[i], text));
	};

	let trouble = ""; // what the title says is wrong
	const renderTitle = () => {
		const lost = document.body.classList.contains("stale") ? "connection lost" : "";
		const wrong = lost || trouble;
		const title = (wrong ? `(${wrong}) ` : "") + "TigerGraph edge";
		if (document.title !== title) document.title = title;
	};

	const tiles = {};
	const renderWhole = () => {
		renderFacts();
		const list = byId("services");
		const banners = [];
		let troubles = 0;
		for (const name of services) {
			let tile = tiles[name];
			if (!tile) {
				tile = tiles[name] = { use: makeSVG("use", {}), text: make("span", {}), item: make("li", {}) };
				tile.item.append(makeSVG("svg", { class: "shape", "aria-hidden": "true", viewBox: "0 0 16 16" }, tile.use),
					make("div", {}, make("strong", {}, serviceNames[name]), tile.text, make("div", { class: "sub" }, serviceUse[name])));
				list.append(tile.item);
			}
			const count = { up: 0, down: 0, unknown: 0, off: 0 };
			// A standby's nodes serve nobody: they are shown below, and not counted here.
			const serving = state.nodes.filter((node) => node.role !== "standby");
			for (const node of serving) count[node.services[name].verdict]++;
			const checked = serving.length - count.off;
			const whole = state.services[name];
			troubles += count.down;
			let is = "up";
			if (checked === 0) is = "off";
			else if (whole.fail_open || whole.unavailable || count.down === checked) is = "down";
			else if (count.down > 0) is = "some";
			else if (count.unknown > 0) is = "unknown";
			const words = [];
			if (checked > 0) words.push(`${count.up} of ${checked} up`);
			if (count.down > 0) words.push(count.down + " down");
			if (count.unknown > 0) words.push(count.unknown + " unknown");
			if (count.off > 0) words.push(count.off + " not checked");
			if (state.nodes.length === 0) words.push("no nodes");
			if (whole.fail_open) words.push("failing open");
			say(tile.text, words.join(", "));
			set(tile.item, "data-is", is);
			set(tile.use, "href", "#shape-" + is);
			if (state.nodes.length === 0) continue;
			if (whole.fail_open) {
				banners.push(["Failing open: " + serviceNames[name], "Every node that takes new clients is down by its checks. Requests are sent there all the same, for checks must never empty a pool that works."]);
			} else if (whole.unavailable) {
				banners.push(["Nobody serves " + serviceNames[name], "No node can take a new client's request. It is answered with 503."]);
			}
		}
		const box = byId("banners");
		const key = JSON.stringify(banners);
		if (box.dataset.key !== key) {
			box.dataset.key = key;
			box.replaceChildren(...banners.map(([title, text]) => {
				const banner = make("div", { class: "banner", "data-is": "down" }, shape("down"));
				banner.append(make("div", {}, make("strong", {}, title + "."), " " + text));
				return banner;
			}));
		}
		trouble = banners.length ? banners.map(([title]) => title).join(", ") : troubles ? troubles + " down" : "";
		renderTitle();
		filter();
	};

	// ---- what has changed

	const words = { all: "" };
	const entryWords = (t) => [t.node, words[t.service] ?? serviceNames[t.service] ?? t.service].filter(Boolean).join(" ");

	// group puts together what happened within seconds for the same reason, such as
	// the services of a node that went down.
	const group = (transitions) => {
		const groups = [];
		for (const t of transitions) {
			const why = withoutAddress(t.why, t.node);
			const near = (g) => g.from === t.from && g.to === t.to && g.alike === why && Math.abs(new Date(g.time) - new Date(t.time)) < 10_000 &&
				!g.entries.some((entry) => entry.node === t.node && entry.service === t.service);
			const same = groups.slice(-10).find(near);
			if (same) {
				same.entries.push(t);
			} else {
				groups.push({ ...t, alike: why, entries: [t] });
			}
		}
		return groups.slice(0, mostEntries);
	};

	// withoutAddress leaves the node's own address, and what was dialled, out of what
	// failed there, so that an outage reads alike on all nodes.
	const withoutAddress = (text, node) => text.split(" ").filter((word) => {
		const bare = word.replace(/^[:",;()[\]]+|[:",;()[\]]+$/g, "");
		return bare !== node && bare !== node.replace(/:\d+$/, "") && !/^[^/=]+:\d+$/.test(bare);
	}).join(" ");

	// filterHistory shows the entries about nodes with these words in their addresses.
	const filterHistory = (words) => {
		let shown = 0;
		const items = byId("history").children;
		for (const item of items) {
			const wanted = item.dataset.nodes.includes(words);
			if (item.hidden === wanted) item.hidden = !wanted;
			if (wanted) shown++;
		}
		const calm = byId("calm");
		calm.hidden = shown > 0;
		say(calm, items.length > 0 ? "Nothing has changed of the nodes that are shown." : "Nothing has changed yet.");
	};

	const renderHistory = () => {
		const list = byId("history");
		const open = new Set([...list.querySelectorAll("details[open]")].map((details) => details.dataset.key));
		list.replaceChildren(...group(state.history).map((g) => {
			const nodes = new Map();
			for (const t of g.entries) nodes.set(t.node, (nodes.get(t.node) || []).concat(t.service));
			const what = make("div", { class: "what" });
			const names = (list) => services.filter((name) => list.includes(name)).map((name) => serviceNames[name]).join(", ");
			if (nodes.size === 1) {
				what.append(make("strong", {}, g.node), " " + names(nodes.get(g.node)) + " ");
			} else {
				what.append(make("strong", {}, plural(nodes.size, "node", "nodes")), g.service === "all" ? " " : " (" + plural(g.entries.length, "service", "services") + ") ");
			}
			what.append(`${g.from} → ${g.to}`);
			const why = nodes.size === 1 ? g.why : g.alike;
			if (why) what.append(make("div", { class: "why" }, why));
			if (nodes.size > 1) {
				const key = g.entries[g.entries.length - 1].time + g.to;
				const details = make("details", { "data-key": key }, make("summary", {}, "which"));
				details.append([...nodes].reverse().map(([node, list]) => node + " " + names(list)).join(" · "));
				details.open = open.has(key);
				what.append(details);
			}
			const item = make("li", { "data-is": g.to, "data-nodes": [...nodes.keys()].join(" ").toLowerCase() }, make("time", { datetime: g.time }, clock(g.time)));
			item.append(shape(["up", "down", "unknown", "off", "draining", "ready"].includes(g.to) ? g.to : "unknown"), what);
			return item;
		}));
		filterHistory(byId("find").value.trim().toLowerCase());
	};

	// announce tells screen readers, and not more than they can say.
	const announce = (transitions) => {
		const groups = group(transitions);
		const told = groups.slice(0, 3).map((g) => `${g.entries.length > 3 ? plural(g.entries.length, "change", "changes") + ":" : g.entries.map(entryWords).join(" and ")} ${g.to}. ${g.why}`);
		byId("announcer").textContent = told.join(". ");
	};

	// ---- the connection

	const address = (format) => `${location.origin}${location.pathname}?format=${format}`;
	const silence = 12_000; // after which a stream counts as broken
	const pollEvery = 2_000;

	let stream = null;
	let failures = 0; // of streams, in a row
	let again = 0; // the timer of the next stream
	let polling = 0; // the timer of the next question

	const connection = (name, text) => {
		set(byId("connection"), "data-state", name);
		say(byId("connection-text"), text);
		const lost = byId("lost");
		document.body.classList.toggle("stale", name === "lost");
		renderTitle();
		if (name !== "lost") {
			lost.replaceChildren();
		} else if (!lost.firstChild) {
			const text = "The connection to the edge is lost." + (state ? " What is shown was so at " + clock(state.time) + "." : "") + " Trying to connect again.";
			lost.append(make("div", { class: "banner", "data-is": "down" }, shape("down"), make("div", {}, make("strong", {}, text))));
		}
	};

	const heardOf = () => {
		heard = Date.now();
	};

	const open = () => {
		clearTimeout(again);
		close();
		if (document.hidden) return;
		const source = stream = new EventSource(address("events"));
		heardOf();
		const receive = (handle) => (event) => {
			if (stream !== source) return;
			let content;
			try {
				content = JSON.parse(event.data);
			} catch {
				broken();
				return;
			}
			heardOf();
			failures = 0;
			clearTimeout(polling);
			handle(content);
			connection("live", "Live");
		};
		source.addEventListener("snapshot", receive(adopt));
		source.addEventListener("update", receive((update) => {
			if (state) apply(update);
		}));
		source.addEventListener("error", () => {
			if (stream === source) broken();
		});
	};

	const close = () => {
		if (stream) stream.close();
		stream = null;
	};

	// broken ends a stream that does not work. Until there is another the page asks.
	const broken = () => {
		close();
		failures++;
		clearTimeout(again);
		again = setTimeout(open, Math.min(15_000, 500 * 2 ** Math.min(failures - 1, 5)));
		poll();
	};

	const poll = async () => {
		clearTimeout(polling);
		let next = pollEvery;
		try {
			const response = await fetch(address("json"), { headers: { Accept: "application/json" }, cache: "no-store", signal: AbortSignal.timeout(8_000) });
			if (response.status === 401 || response.status === 403) {
				connection("lost", "Not allowed");
				say(byId("lost").querySelector("strong"), "The edge wants you to log in again: reload the page.");
				return;
			}
			if (!response.ok) throw new Error("status " + response.status);
			const content = await response.json();
			if (stream && failures === 0) return; // it works again
			adopt(content);
			heardOf();
			connection("polling", failures > 1 ? "Asking every 2 s" : "Reconnecting");
		} catch {
			if (failures > 0) connection("lost", "Connection lost");
			next = pollEvery;
		}
		if (failures > 0 && !document.hidden) polling = setTimeout(poll, next);
	};

	document.addEventListener("visibilitychange", () => {
		if (document.hidden) {
			clearTimeout(again);
			clearTimeout(polling);
			close();
		} else {
			open();
		}
	});

	// Once a second: what depends on the clock alone.
	setInterval(() => {
		if (document.hidden) return;
		if (stream && Date.now() - heard > silence) broken();
		if (!state || document.body.classList.contains("stale")) return;
		renderFacts();
		state.nodes.forEach((node, i) => {
			if (rows[i].group.hidden) return;
			renderSince(i);
			if (node.draining) renderBadges(i);
		});
	}, 1000);

	byId("filter").addEventListener("submit", (event) => event.preventDefault());
	byId("filter").addEventListener("input", filter);
	say(byId("host"), location.host);
	open();
})();
