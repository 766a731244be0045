"use strict";
// "Which one?": of the loads that were measured, the nearest to what is asked for.
{
  const section = document.getElementById("which");
  const form = section?.querySelector("form");
  const situations = [...(section?.querySelectorAll(".situation") ?? [])];

  // How far a load is from what is asked, and in which respects it differs. What costs most to get
  // wrong comes first: what an answer does, then how clients come, then how many are silent.
  const distance = (asked, load) => {
    const off = [];
    let far = 0;
    if (asked.work !== load.work) { far += 1e6; off.push("in what an answer costs"); }
    if (asked.connects !== load.connects) { far += 1e5; off.push("in how clients come"); }
    if (asked.cores !== load.cores) { far += 1e4; off.push("in the number of cores"); }
    const apart = (name) => Math.abs(Math.log10(+asked[name] + 1) - Math.log10(+load[name] + 1));
    if (apart("silent")) { far += 1000 * apart("silent"); off.push("in the number of silent connections"); }
    if (apart("busy")) { far += 100 * apart("busy"); off.push("in the number of busy clients"); }
    return { far, off };
  };

  const tied = (one) => one.querySelector(".nearest").dataset.tied.split("|");
  const model = (name) => name.split(" ")[0];

  // Many silent connections decide more than anything else, and were measured with answers that cost
  // nothing and clients that stay: whoever is not among the best there is no advice.
  const besideSilent = (asked, best) => {
    const measured = situations.filter(({ dataset: { silent, work, connects } }) => silent === asked.silent && work === "none" && connects === "no");
    if (+asked.silent <= +best.dataset.silent || !measured.length) return null;
    const among = new Set(tied(measured[0]).map(model));
    const both = tied(best).filter((name) => among.has(model(name)));
    const beside = `beside ${(+asked.silent).toLocaleString("en")} silent connections`;
    return both.length ? `Take ${both.join(" or ")}: among the best here, and ${beside}. Together the two were not measured.`
      : `Nobody is among the best both here and ${beside}, where ${[...among].join(", ")} lead${among.size === 1 ? "s" : ""}. Measure your own load before you choose.`;
  };

  const answered = () => {
    const asked = Object.fromEntries(new FormData(form));
    const found = situations.map((one) => ({ one, ...distance(asked, one.dataset) }));
    const best = found.reduce((a, b) => (b.far < a.far ? b : a));
    for (const { one, off } of found) {
      one.hidden = one !== best.one;
      const nearest = one.querySelector(".nearest");
      nearest.textContent = off.length
        ? `Your load was not measured. The nearest that was differs ${off.join(", ")}:` : "Exactly this load was measured.";
      nearest.classList.toggle("notice", off.length > 0);
    }
    const [both, alone] = ["both", "best"].map((name) => best.one.querySelector(`.${name}`));
    const words = besideSilent(asked, best.one);
    both.textContent = words ?? "";
    both.hidden = words === null;
    alone.hidden = words !== null;
  };

  if (situations.length) {
    form.addEventListener("change", answered);
    answered();
  }
}
