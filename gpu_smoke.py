import time, torch, numpy as np, sys
sys.path.insert(0, "card.pack/code")
t0=time.time()
from drscale.pack import open_pack
from drscale.training import packed, loop
from drscale.training.batches import tokenised
from drscale.sweep import run_one
from drscale.runs import RunStore
pack=open_pack("card.pack"); R=pack.recipes
print("opened", time.time()-t0, torch.__version__, flush=True)
small=next(r for r in R if r.rung=="L2H128" and r.start=="scratch")
for dtype,drop in (("bf16",0.0),("fp32",0.0)):
    r=small.but(steps=30,warmup=3,select="last",precision=dtype,dropout=drop)
    tr=[]
    for name,t in (("packed",packed.train),("plain",loop.train)):
        e=pack.build(r); p=tokenised(e,pack.texts(r).train); t1=time.time()
        w=t(e,p,r); tr.append([c["loss"] for c in w.curve]); print(dtype,name,time.time()-t1,w.reason,flush=True)
    print("largest difference of losses", dtype, np.abs(np.array(tr[0])-np.array(tr[1])).max(), tr[0][-1], flush=True)
t1=time.time(); r=small.but(steps=60,warmup=6)
run=run_one(r,RunStore("/tmp/x"),pack=pack); print(run, run.cost, run.versions.get("engine"), time.time()-t1, flush=True)
