// A program in a pod: its configuration is that of its folder. Prints what it sees as configured and at each path.
import * as k8s from '@kubernetes/client-node';

const [folder, ...paths] = process.argv.slice(2);
const kc = new k8s.KubeConfig();
kc.loadFromCluster(folder);
const namespace = kc.getContextObject(kc.currentContext).namespace;
const server = kc.clusters[0].server;
const results = [];
for (const path of ['', ...paths]) {
    kc.clusters[0] = { ...kc.clusters[0], server: server + path };
    const core = kc.makeApiClient(k8s.CoreV1Api);
    try {
        const { items } = await core.listNamespacedConfigMap({ namespace });
        results.push(items.map((item) => item.metadata.name));
    } catch (raised) {
        results.push(raised.code ?? `${raised.message}`);
    }
}
console.log(JSON.stringify(results));
